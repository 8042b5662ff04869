
_bpfman_live() {
    local -a words_of_daemon
    words_of_daemon=("${(@f)$(bpfman complete "$LBUFFER" 2>/dev/null)}")
    if [[ -n "${words_of_daemon[1]}" ]]; then
        compadd -a words_of_daemon
    else
        _bpfman "$@"
    fi
}
compdef _bpfman_live bpfman
[ "$funcstack[1]" != "_bpfman" ] || _bpfman_live "$@"
