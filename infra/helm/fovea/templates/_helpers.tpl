{{- define "fovea.labels" -}}
app.kubernetes.io/name: fovea
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "fovea.selector" -}}
app.kubernetes.io/name: fovea
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "fovea.fullname" -}}
{{- .Release.Name | trunc 32 | trimSuffix "-" }}-fovea
{{- end }}

{{- define "fovea.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "fovea.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{- define "fovea.env" -}}
- name: FOVEA_REDIS_URL
  valueFrom: { secretKeyRef: { name: {{ .Values.redis.existingSecret }}, key: {{ .Values.redis.key }} } }
- { name: FOVEA_PREFIX, value: {{ .Values.fleet.prefix | quote }} }
- { name: FOVEA_STORE, value: {{ .Values.fleet.store | quote }} }
{{- with .Values.fleet.s3Endpoint }}
- { name: FOVEA_S3_ENDPOINT, value: {{ . | quote }} }
{{- end }}
- { name: FOVEA_S3_REGION, value: {{ .Values.fleet.s3Region | quote }} }
- { name: FOVEA_CACHE, value: /var/lib/fovea/cache }
{{- with .Values.store }}
{{- if .existingSecret }}
- name: AWS_ACCESS_KEY_ID
  valueFrom: { secretKeyRef: { name: {{ .existingSecret }}, key: {{ .accessKeyId }} } }
- name: AWS_SECRET_ACCESS_KEY
  valueFrom: { secretKeyRef: { name: {{ .existingSecret }}, key: {{ .secretAccessKey }} } }
{{- end }}
{{- end }}
{{- range $name, $value := .Values.extraEnv }}
- { name: {{ $name }}, value: {{ $value | quote }} }
{{- end }}
{{- end }}
