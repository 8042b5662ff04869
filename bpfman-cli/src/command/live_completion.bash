
_bpfman_live() {
    local line="${COMP_LINE:0:COMP_POINT}" word tail
    mapfile -t COMPREPLY < <(bpfman complete "$line" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 0 ]]; then
        _bpfman "$@"
        return
    fi
    # The shell replaces what follows the last of these characters.
    word="${line##*[[:space:]]}"
    tail="${word##*[=:@]}"
    COMPREPLY=("${COMPREPLY[@]#"${word%"$tail"}"}")
}
complete -F _bpfman_live -o bashdefault -o default bpfman
