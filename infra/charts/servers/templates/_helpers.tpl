{{/* The labels of one server: include "servers.selector" (list . "mlflow") */}}
{{- define "servers.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ index . 1 }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
{{- end -}}

{{- define "servers.labels" -}}
{{- $root := index . 0 -}}
{{ include "servers.selector" . }}
app.kubernetes.io/version: {{ $root.Values.image.tag | default $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: slipway
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version }}
{{- end -}}

{{- define "servers.image" -}}
image: {{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "servers.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  seccompProfile: {type: RuntimeDefault}
  {{- toYaml .Values.securityContext | nindent 2 }}
{{- end -}}

{{/* A server's data and its /tmp: include "servers.volumes" (list . "mlflow") */}}
{{- define "servers.volumes" -}}
{{- $root := index . 0 -}}
- name: data
  {{- if $root.Values.persistence.enabled }}
  persistentVolumeClaim: {claimName: {{ index . 1 }}}
  {{- else }}
  emptyDir: {sizeLimit: {{ index $root.Values.persistence.size (index . 1) }}}
  {{- end }}
- name: temporary
  emptyDir: {sizeLimit: 1Gi}
{{- end -}}

{{- define "servers.probes" -}}
startupProbe:
  {{- toYaml . | nindent 2 }}
  periodSeconds: 2
  timeoutSeconds: 3
  failureThreshold: 90 # cold bytecode: most of a minute on a small machine
readinessProbe:
  {{- toYaml . | nindent 2 }}
  periodSeconds: 5
  timeoutSeconds: 5
livenessProbe:
  {{- toYaml . | nindent 2 }}
  periodSeconds: 20
  timeoutSeconds: 10
  failureThreshold: 15 # who is busy for minutes is not dead, and a Prefect that is killed forgets what it has not acted on
{{- end -}}

{{- define "servers.prefectAuth" -}}
{{- .Values.prefect.auth.secret.name | default "prefect-auth" -}}
{{- end -}}

{{/* Of an address, what a browser calls its origin: include "servers.origin" "http://localhost:4200/api" */}}
{{- define "servers.origin" -}}
{{- $url := urlParse . -}}
{{- printf "%s://%s" $url.scheme $url.host -}}
{{- end -}}

{{/* An S3 key of the one Secret: include "servers.s3Keys" (list . "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY") */}}
{{- define "servers.s3Keys" -}}
{{- $secret := (index . 0).Values.secret -}}
- name: {{ index . 1 }}
  valueFrom: {secretKeyRef: {name: {{ $secret.name }}, key: {{ $secret.accessKeyId }}}}
- name: {{ index . 2 }}
  valueFrom: {secretKeyRef: {name: {{ $secret.name }}, key: {{ $secret.secretAccessKey }}}}
{{- end -}}
