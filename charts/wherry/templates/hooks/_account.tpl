{{/* A ServiceAccount with its rights, there only while its hook runs.
     root, name, hooks; rules: of the cluster; own: of the namespace. */}}
{{- define "wherry.hookAnnotations" -}}
helm.sh/hook: {{ .hooks }}
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{- define "wherry.hookAccount" -}}
{{- $meta := dict "hooks" .hooks "weight" -10 -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "wherry.labels" .root | nindent 4 }}
  annotations:
    {{- include "wherry.hookAnnotations" $meta | nindent 4 }}
automountServiceAccountToken: false
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ .name }}
  labels:
    {{- include "wherry.labels" .root | nindent 4 }}
  annotations:
    {{- include "wherry.hookAnnotations" $meta | nindent 4 }}
rules:
  {{- .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ .name }}
  labels:
    {{- include "wherry.labels" .root | nindent 4 }}
  annotations:
    {{- include "wherry.hookAnnotations" $meta | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: {{ .name }}
    namespace: {{ .root.Release.Namespace }}
{{- with .own }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ $.name }}
  namespace: {{ $.root.Release.Namespace }}
  labels:
    {{- include "wherry.labels" $.root | nindent 4 }}
  annotations:
    {{- include "wherry.hookAnnotations" $meta | nindent 4 }}
rules:
  {{- . | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ $.name }}
  namespace: {{ $.root.Release.Namespace }}
  labels:
    {{- include "wherry.labels" $.root | nindent 4 }}
  annotations:
    {{- include "wherry.hookAnnotations" $meta | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ $.name }}
subjects:
  - kind: ServiceAccount
    name: {{ $.name }}
    namespace: {{ $.root.Release.Namespace }}
{{- end }}
{{- end }}

{{/* The spec of its pod: root, name, args; volume: a ConfigMap at /etc/wherry. */}}
{{- define "wherry.hookPod" -}}
serviceAccountName: {{ .name }}
automountServiceAccountToken: true
enableServiceLinks: false
restartPolicy: Never
{{- with include "wherry.pullSecrets" .root }}
{{- trim . | nindent 0 }}
{{- end }}
{{- with include "wherry.placement" .root }}
{{- trim . | nindent 0 }}
{{- end }}
securityContext:
  {{- include "wherry.podSecurity" .root | nindent 2 }}
containers:
  - name: {{ .name }}
    image: {{ include "wherry.operatorImage" .root }}
    imagePullPolicy: {{ .root.Values.images.pullPolicy }}
    command: [/wherry-operator]
    args:
      {{- toYaml .args | nindent 6 }}
    resources:
      requests: { cpu: 10m, memory: 32Mi }
      limits: { memory: 256Mi }
    securityContext:
      {{- include "wherry.containerSecurity" .root | nindent 6 }}
    {{- if .volume }}
    volumeMounts:
      - name: config
        mountPath: /etc/wherry
        readOnly: true
    {{- end }}
{{- with .volume }}
volumes:
  - name: config
    configMap:
      name: {{ . }}
{{- end }}
{{- end }}

{{- define "wherry.hookLabels" -}}
{{ include "wherry.labels" .root }}
app.kubernetes.io/component: {{ .name }}
{{- end }}
