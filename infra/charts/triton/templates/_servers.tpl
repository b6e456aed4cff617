{{/*
Draws a template for every server of `tritonServers`, its values laid over the common ones; where there is none, once
for the common ones. What is drawn finds `.Values`, `.Release`, `.Chart` and `.Capabilities` as ever, and `.Server`.
*/}}
{{- define "triton.each" -}}
{{- $root := first . -}}
{{- $template := last . -}}
{{- $claimed := dict -}}
{{- range $place, $server := $root.Values.tritonServers | default (list dict) -}}
{{- $values := deepCopy (omit $root.Values "tritonServers") -}}
{{- include "triton.overlay" (list $values (omit $server "name")) -}}
{{- $one := dict "Values" $values "Server" (get $server "name") "Release" $root.Release "Chart" $root.Chart "Capabilities" $root.Capabilities -}}
{{- include "triton.check" $one -}}
{{- include "triton.claim" (list $one $claimed) -}}
{{- if $place }}
---
{{ end -}}
{{- include $template $one -}}
{{- end -}}
{{- end -}}

{{/* Lays the second mapping over the first, in place; lists are replaced. `mergeOverwrite` would skip false, 0 and "". */}}
{{- define "triton.overlay" -}}
{{- $below := first . -}}
{{- range $key, $value := last . -}}
{{- if and (kindIs "map" $value) (kindIs "map" (get $below $key)) -}}
{{- include "triton.overlay" (list (get $below $key) $value) -}}
{{- else -}}
{{- $_ := set $below $key $value -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* How a server is called in what the chart says about it. */}}
{{- define "triton.called" -}}
{{- if .Server -}}tritonServers, {{ .Server }}{{- else -}}{{ .Release.Name }}{{- end -}}
{{- end -}}

{{/* Refuses what no two servers can have. */}}
{{- define "triton.claim" -}}
{{- $one := first . -}}
{{- $claimed := last . -}}
{{- $name := include "triton.called" $one -}}
{{- $claims := list -}}
{{- if $one.Server -}}
{{- $claims = append $claims (printf "name %s" $one.Server) -}}
{{- end -}}
{{- if $one.Values.serviceAccount.create -}}
{{- $claims = append $claims (printf "service account %s to create" (include "triton.serviceAccount" $one)) -}}
{{- end -}}
{{- range $port := $one.Values.service.nodePort -}}
{{- if $port -}}
{{- $claims = append $claims (printf "nodePort %v" $port) -}}
{{- end -}}
{{- end -}}
{{- range $claims -}}
{{- if hasKey $claimed . -}}
{{- fail (printf "%s: the %s is that of %s already, expected one of its own; change it in one of them" $name . (get $claimed .)) -}}
{{- end -}}
{{- $_ := set $claimed . $name -}}
{{- end -}}
{{- end -}}

{{/* Refuses values that do not go together; the schema sees no server's values laid over the common ones. */}}
{{- define "triton.check" -}}
{{- $name := include "triton.called" . -}}
{{- with .Values -}}
{{- $directories := len (compact (list .directory.claim .directory.hostPath)) -}}
{{- if regexMatch "^[a-z+]+://[^/]*@" (lower .git.repository) -}}
{{- fail (printf "%s: git.repository has a user or a token in its address (not shown), expected https://host/group/name.git; put them into a Secret, name it in git.secret.name, and replace that token" $name) -}}
{{- end -}}
{{- if not (regexMatch "^(https?://[A-Za-z0-9.-]+(:[0-9]+)?/[^?#@ ]+)?$" .git.repository) -}}
{{- fail (printf "%s: git.repository is %s, expected https://host/group/name.git; git-sync is given no SSH key here" $name .git.repository) -}}
{{- end -}}
{{- if and (eq .modelSource "git") (not .git.repository) -}}
{{- fail (printf "%s: modelSource is git and git.repository is empty, expected https://host/group/name.git; set it" $name) -}}
{{- end -}}
{{- if and (eq .modelSource "directory") (ne $directories 1) -}}
{{- fail (printf "%s: modelSource is directory and %d of directory.claim and directory.hostPath are set, expected one of them" $name $directories) -}}
{{- end -}}
{{- if and (not $.Server) .git.repository (ne .modelSource "git") -}}
{{- fail (printf "%s: git.repository is set and modelSource is %s, which reads nothing of it; set modelSource: git, or leave git.repository out" $name .modelSource) -}}
{{- end -}}
{{- if and (not $.Server) $directories (ne .modelSource "directory") -}}
{{- fail (printf "%s: directory is set and modelSource is %s, which reads nothing of it; set modelSource: directory, or leave directory out" $name .modelSource) -}}
{{- end -}}
{{- if ne .service.type "NodePort" -}}
{{- range $port, $number := .service.nodePort -}}
{{- if $number -}}
{{- fail (printf "%s: service.nodePort.%s is %v and service.type is %s, which has no such port; set service.type: NodePort, or leave the port out" $name $port $number $.Values.service.type) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .s3.roleArn .s3.secret.name -}}
{{- fail (printf "%s: s3.roleArn and s3.secret.name are both set, and Triton would take the keys; leave one of them out" $name) -}}
{{- end -}}
{{- if and .control.open .control.secret.name -}}
{{- fail (printf "%s: control.open is true and control.secret.name is set, which would be of no effect; leave one of them out" $name) -}}
{{- end -}}
{{- if and (eq .service.type "ClusterIP") .service.externalTrafficPolicy -}}
{{- fail (printf "%s: service.externalTrafficPolicy is %s and service.type is ClusterIP, which nobody outside reaches; set service.type: NodePort or LoadBalancer, or leave it out" $name .service.externalTrafficPolicy) -}}
{{- end -}}
{{- end -}}
{{- end -}}
