{{- define "slipway.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 45 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The labels of one part: include "slipway.selector" (list . "events") */}}
{{- define "slipway.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "slipway.labels" -}}
{{- $root := index . 0 -}}
{{ include "slipway.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: slipway
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version }}
{{- end -}}

{{/* include "slipway.image" (list . .Values.images.training) */}}
{{- define "slipway.image" -}}
{{- $image := index . 1 -}}
{{ $image.repository }}:{{ $image.tag | default (index . 0).Chart.AppVersion }}
{{- end -}}

{{- define "slipway.pod" -}}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  seccompProfile: {type: RuntimeDefault}
  {{- toYaml .Values.securityContext | nindent 2 }}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: temporary
    emptyDir: {sizeLimit: 1Gi}
{{- end -}}

{{- define "slipway.container" -}}
imagePullPolicy: {{ .Values.images.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
volumeMounts:
  - {name: temporary, mountPath: /tmp}
{{- end -}}

{{/* How Prefect is reached; everything else a process may write goes to /tmp. */}}
{{- define "slipway.prefect" -}}
- {name: HOME, value: /tmp}
- {name: PREFECT_HOME, value: /tmp/prefect}
- {name: DO_NOT_TRACK, value: "1"}
- {name: PREFECT_API_URL, value: {{ .Values.prefect.apiUrl | quote }}}
{{- include "slipway.secret" (list "PREFECT_API_KEY" .Values.prefect.apiKey.secret .Values.prefect.apiKey.secret.key) }}
{{- include "slipway.secret" (list "PREFECT_API_AUTH_STRING" .Values.prefect.authString.secret .Values.prefect.authString.secret.key) }}
{{- end -}}

{{/* Who we are for MLflow, where it asks. */}}
{{- define "slipway.mlflow" -}}
{{- with .Values.mlflow.secret }}
{{- include "slipway.secret" (list "SLIPWAY_MLFLOW_TOKEN" . .token) }}
{{- if not .token }}
{{- include "slipway.secret" (list "SLIPWAY_MLFLOW_USERNAME" . .username) }}
{{- include "slipway.secret" (list "SLIPWAY_MLFLOW_PASSWORD" . .password) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* A variable from an existing Secret, where its name is given: include "slipway.secret" (list "NAME" secret key) */}}
{{- define "slipway.secret" -}}
{{- if and (index . 1).name (index . 2) }}
- name: {{ index . 0 }}
  valueFrom: {secretKeyRef: {name: {{ (index . 1).name }}, key: {{ index . 2 }}}}
{{- end }}
{{- end -}}

{{/* The Secret that the chart `triton` generates, in its own namespace. */}}
{{- define "slipway.generatedControl" -}}
{{- printf "%s-control" (trimSuffix "-headless" .Values.triton.headlessService) -}}
{{- end -}}

{{/* The Secret with the key of Triton's model control, in this namespace: the named one, Triton's own, or its copy. */}}
{{- define "slipway.controlSecret" -}}
{{- if .Values.triton.control.secret.name -}}
{{- .Values.triton.control.secret.name -}}
{{- else if eq .Values.triton.namespace .Release.Namespace -}}
{{- include "slipway.generatedControl" . -}}
{{- else -}}
{{- printf "%s-triton-control" (include "slipway.fullname" .) -}}
{{- end -}}
{{- end -}}

{{- define "slipway.eventsUrl" -}}
{{- .Values.events.url | default (printf "http://%s-events.%s.svc:8900/webhooks/mlflow" (include "slipway.fullname" .) .Release.Namespace) -}}
{{- end -}}
