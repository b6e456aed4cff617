{{/* Where a server's models come from: a bucket, a branch that git-sync follows, or a directory. */}}
{{- define "triton.mountPath" -}}
{{- ternary "/git" "/models" (eq .Values.modelSource "git") -}}
{{- end -}}

{{- define "triton.repository" -}}
{{- if eq .Values.modelSource "s3" -}}
{{- .Values.modelRepository -}}
{{- else if eq .Values.modelSource "git" -}}
{{- list "/git/current" .Values.git.path | compact | join "/" -}}
{{- else -}}
{{- list "/models" .Values.directory.path | compact | join "/" -}}
{{- end -}}
{{- end -}}

{{/* The same for people. */}}
{{- define "triton.served" -}}
{{- if eq .Values.modelSource "s3" -}}
{{- .Values.modelRepository -}}
{{- else if eq .Values.modelSource "git" -}}
{{- printf "%s of %s, as commits bring it" (.Values.git.path | default "the top folder") .Values.git.repository }}
{{- else -}}
{{- with .Values.directory -}}{{ ternary "claim" "directory" (not (empty .claim)) }} {{ .claim | default .hostPath }}{{- end -}}
{{- end -}}
{{- end -}}

{{- define "triton.mode" -}}
{{- if eq .Values.modelSource "s3" -}}explicit{{- else if eq .Values.modelSource "git" -}}poll{{- else -}}{{ .Values.directory.mode }}{{- end -}}
{{- end -}}

{{- define "triton.modelVolumes" -}}
- name: models
{{- if eq .Values.modelSource "git" }}
  emptyDir: {sizeLimit: {{ .Values.git.size }}}
- name: git-temporary
  emptyDir: {sizeLimit: 64Mi}
{{- with .Values.git.secret.name }}
- name: git-secret
  secret:
    secretName: {{ . }}
    defaultMode: 0440
    items:
      - {key: {{ $.Values.git.secret.password }}, path: password}
{{- end }}
{{- else if .Values.directory.claim }}
  persistentVolumeClaim: {claimName: {{ .Values.directory.claim }}, readOnly: true}
{{- else }}
  hostPath: {path: {{ .Values.directory.hostPath }}, type: Directory}
{{- end }}
{{- end -}}

{{/*
git-sync checks every commit out beside the one before and then moves the link /git/current, at once. "first" ends with
the first commit, so that no server starts without models; "ever" goes on, and outlives a Git server that is away.
*/}}
{{- define "triton.gitSync" -}}
{{- $once := eq (last .) "first" -}}
{{- with first . -}}
- name: {{ ternary "git-sync-first" "git-sync" $once }}
  image: {{ include "triton.image" .Values.git.image }}
  imagePullPolicy: {{ .Values.git.image.pullPolicy }}
  args:
    - --repo={{ .Values.git.repository }}
    - --ref={{ .Values.git.ref }}
    - --root=/git
    - --link=current
    - --period={{ .Values.git.periodSeconds }}s
    {{- if $once }}
    - --one-time
    - --max-failures=6
    {{- else }}
    - --max-failures=-1
    {{- end }}
    {{- if .Values.git.secret.name }}
    - --password-file=/git-secret/password
    {{- end }}
  env:
    - {name: HOME, value: /tmp}
    {{- with .Values.git.secret }}
    {{- if .name }}
    - name: GITSYNC_USERNAME
      valueFrom: {secretKeyRef: {name: {{ .name }}, key: {{ .username }}}}
    {{- end }}
    {{- end }}
  resources: {{- toYaml .Values.git.resources | nindent 4 }}
  securityContext: {{- include "triton.containerSecurity" . | nindent 4 }}
  volumeMounts:
    - {name: models, mountPath: /git}
    - {name: git-temporary, mountPath: /tmp}
    {{- if .Values.git.secret.name }}
    - {name: git-secret, mountPath: /git-secret, readOnly: true}
    {{- end }}
{{- end -}}
{{- end -}}
