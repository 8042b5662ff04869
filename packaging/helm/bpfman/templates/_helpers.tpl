{{/* The name of an image: (list . .Values.images.NAME). */}}
{{- define "bpfman.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* An object without the fields that are null. */}}
{{- define "bpfman.said" -}}
{{- $said := dict -}}
{{- range $field, $value := . -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $_ := set $said $field $value -}}
{{- end -}}
{{- end -}}
{{- toYaml $said -}}
{{- end -}}
