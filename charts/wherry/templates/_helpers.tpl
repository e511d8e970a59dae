{{/* Names are fixed: two operators in one cluster would work against each other, and so Helm refuses the second. */}}

{{- define "wherry.labels" -}}
app.kubernetes.io/name: wherry-operator
app.kubernetes.io/part-of: wherry
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "wherry.selector" -}}
app.kubernetes.io/name: wherry-operator
app.kubernetes.io/component: controller
{{- end }}

{{- define "wherry.operatorImage" -}}
{{- with .Values.images.operator -}}
{{ .repository }}@{{ required "images.operator.digest is missing: images are named by their digest" .digest }}
{{- end }}
{{- end }}

{{- define "wherry.nodeImage" -}}
{{- with .Values.images.node -}}
{{ .repository }}@{{ required "images.node.digest is missing: images are named by their digest" .digest }}
{{- end }}
{{- end }}

{{/* What every pod of the operator's image is. */}}
{{- define "wherry.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "wherry.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "wherry.pullSecrets" -}}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "wherry.placement" -}}
{{- with .Values.operator.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.operator.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.operator.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The WasmShim, as the API server is to have it. */}}
{{- define "wherry.shim" -}}
{{- $artifact := dict "image" (include "wherry.nodeImage" .) -}}
{{- $spec := merge (dict "artifact" $artifact) .Values.shim.spec -}}
{{- $labels := dict "app.kubernetes.io/part-of" "wherry" "app.kubernetes.io/managed-by" .Release.Service -}}
{{- $metadata := dict "name" "wherry" "labels" $labels -}}
{{ dict "apiVersion" "wherry.dev/v1alpha1" "kind" "WasmShim" "metadata" $metadata "spec" $spec | toPrettyJson }}
{{- end }}
