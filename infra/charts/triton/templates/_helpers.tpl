{{- define "triton.fullname" -}}
{{- $release := ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) -}}
{{- if .Server -}}
{{- printf "%s-%s" ($release | trunc (int (sub 52 (len .Server))) | trimSuffix "-") .Server -}}
{{- else -}}
{{- $release | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "triton.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- with .Server }}
triton-server: {{ . }}
{{- end -}}
{{- end -}}

{{- define "triton.labels" -}}
{{ include "triton.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: slipway
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "triton.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "triton.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "triton.image" -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag }}{{- end -}}
{{- end -}}

{{- define "triton.controlSecret" -}}
{{- .Values.control.secret.name | default (printf "%s-control" (include "triton.fullname" .)) -}}
{{- end -}}

{{- define "triton.restricted" -}}
model-repository,shared-memory,logging,trace,model-config:
{{- end -}}

{{/* Without a cluster, Helm assumes every kind it was compiled with: its version is asked, too. */}}
{{- define "triton.pdbVersion" -}}
{{- if and (.Capabilities.APIVersions.Has "policy/v1") (semverCompare ">=1.21-0" .Capabilities.KubeVersion.Version) -}}
policy/v1
{{- else -}}
policy/v1beta1
{{- end -}}
{{- end -}}

{{- define "triton.hpaVersion" -}}
{{- if and (.Capabilities.APIVersions.Has "autoscaling/v2") (semverCompare ">=1.23-0" .Capabilities.KubeVersion.Version) -}}
autoscaling/v2
{{- else -}}
autoscaling/v2beta2
{{- end -}}
{{- end -}}

{{- define "triton.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}
