import '@fovea/jobs'; process.exit(0);
