// What this project asks of its own deployment beyond what schemas know: images pinned, references that lead somewhere,
// pods that can do nothing but their work. Pure functions from parsed files to sentences; infra/lint.mjs calls them.

const PINNED = /:(?!latest$)[\w][\w.-]*$|@sha256:[0-9a-f]{64}$/;
/** Stopping takes longer than the 15 s in which a shard's state is written. */
const LEAST_GRACE = 60;

/** Sentences on what is wrong with a parsed compose file. */
export function checkCompose(file) {
  const { services = {}, volumes = {}, networks = {} } = file;
  return Object.entries(services).flatMap(([name, service]) => {
    const faults = [];
    const image = `${service.image ?? ''}`.replace(/^\$\{\w+:-(.*)\}$/, '$1');
    if (!PINNED.test(image)) faults.push(`its image ${image || '(none)'} has no version`);
    for (const other of Object.keys(Array.isArray(service.depends_on) ? {} : (service.depends_on ?? {})))
      if (!services[other]) faults.push(`it depends on ${other}, which is no service`);
    for (const volume of service.volumes ?? []) {
      const [source] = typeof volume === 'string' ? volume.split(':') : [volume.source];
      if (/^\w/.test(source) && !(source in volumes)) faults.push(`its volume ${source} is not declared`);
    }
    for (const network of service.networks ?? [])
      if (!(network in networks)) faults.push(`its network ${network} is not declared`);
    for (const port of service.ports ?? [])
      if (!/^(127\.0\.0\.1|\[::1\]|\$\{)/.test(`${port}`)) faults.push(`its port ${port} is open to every host`);
    if (!service.restart) faults.push('it says nothing on restarts');
    if (service.restart !== 'no' && !service.stop_grace_period) faults.push('it has no stop_grace_period');
    if (service.privileged) faults.push('it is privileged');
    return faults.map((fault) => `service ${name}: ${fault}`);
  });
}

/** Sentences on what is wrong with rendered Kubernetes objects. */
export function checkPods(objects) {
  const faults = objects.flatMap((object) => {
    const pod = object.spec?.template?.spec;
    return pod ? podFaults(pod).map((fault) => `${object.kind} ${object.metadata.name}: ${fault}`) : [];
  });
  for (const { kind, metadata } of objects)
    if (kind === 'Secret') faults.push(`Secret ${metadata.name}: secrets are given by reference, never rendered`);
  if (!objects.some(({ kind }) => kind === 'Deployment')) faults.push('it renders no Deployment');
  const names = objects.map(({ kind, metadata }) => `${kind} ${metadata.name}`);
  for (const name of new Set(names.filter((name, i) => names.indexOf(name) !== i)))
    faults.push(`${name} is there twice`);
  for (const { kind, metadata, spec } of objects)
    if (kind === 'ScaledObject' && !names.includes(`Deployment ${spec.scaleTargetRef.name}`))
      faults.push(`ScaledObject ${metadata.name}: it scales ${spec.scaleTargetRef.name}, which is not there`);
  return faults;
}

function podFaults(pod) {
  const faults = [];
  const must = (holds, sentence) => holds || faults.push(sentence);
  must(pod.automountServiceAccountToken === false, 'its pods get a token of the cluster');
  must(pod.securityContext?.runAsNonRoot === true, 'its pods may run as root');
  must(pod.securityContext?.seccompProfile?.type === 'RuntimeDefault', 'its pods have no seccomp profile');
  must(pod.terminationGracePeriodSeconds >= LEAST_GRACE, `its pods get less than ${LEAST_GRACE} s to stop`);
  const volumes = new Set((pod.volumes ?? []).map(({ name }) => name));
  for (const container of pod.containers) {
    const { image, securityContext: security = {}, resources = {}, volumeMounts = [], env = [] } = container;
    must(PINNED.test(image), `its image ${image} has no version`);
    must(security.readOnlyRootFilesystem === true, 'its root file system can be written');
    must(security.allowPrivilegeEscalation === false, 'its processes may gain privileges');
    must(security.capabilities?.drop?.includes('ALL'), 'it keeps capabilities');
    must(resources.requests?.cpu && resources.requests?.memory && resources.limits?.memory, 'it names no resources');
    const grace = Number(env.find(({ name }) => name === 'FOVEA_GRACE_MS')?.value ?? 0) / 1000;
    must(grace < pod.terminationGracePeriodSeconds, 'its engines may take longer to stop than its pod');
    for (const { name } of volumeMounts) must(volumes.has(name), `its mount ${name} is no volume`);
    for (const { name, value } of env)
      must(!(value && /PASSWORD|SECRET|TOKEN|REDIS_URL/.test(name)), `its ${name} is written in clear text`);
  }
  return faults;
}
