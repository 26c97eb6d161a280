# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# Completion of the pagsrv command for bash. Put it where bash-completion looks
# (/usr/share/bash-completion/completions/pagsrv), or source it from ~/.bashrc.
# A test holds the words here against the command's own grammar.

# The options of command $1; those that take a value end with =.
_pagsrv_options() {
    case $1 in
        broker) echo --config= ;;
        session) echo --broker ;;
        pagsh) echo --keep-session ;;
        whoami | doctor) echo --json ;;
        post)
            echo --fd= --open= --dial= --listen= --empty --listen-fds --replace --expect= --scope= \
                --mask= --until= --label= --json -v --verbose
            ;;
        open) echo --scope= --access= ;;
        take | connect | fdpass) echo --scope= ;;
        exec) echo --at= --scope= --preload ;;
        ls) echo -l --long --all --scope= --json ;;
        stat) echo --scope= --json ;;
        rm | mv | setperm) echo --scope= --expect= ;;
        timeout) echo --scope= ;;
        grant) echo --to= --scope= ;;
        ungrant) echo --from= --scope= ;;
        wait) echo --scope= --timeout= ;;
        watch) echo --scope= --initial --json ;;
        tui) echo --read-only ;;
        mount | door) echo --scope= --same-uid ;;
        fdstore) echo --scope= --replace --user-manager --json ;;
        whois) echo --fd= --pid= --json ;;
    esac
    echo --dir= -h --help
}

# The values of option $1, as far as they can be known.
_pagsrv_values() {
    local cur=$2
    case $1 in
        --scope) mapfile -t COMPREPLY < <(compgen -W 'session pag user' -- "$cur") ;;
        --access) mapfile -t COMPREPLY < <(compgen -W 'r w rw' -- "$cur") ;;
        --until)
            mapfile -t COMPREPLY < <(compgen -W 'exit leader lease hup ttl= opens= exec setsid uid orphan' -- "$cur")
            ;;
        --dial | --listen) mapfile -t COMPREPLY < <(compgen -W 'tcp: unix:' -- "$cur") ;;
        --open | --config) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
        --dir | --at) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
        *) COMPREPLY=() ;;
    esac
}

# The names that begin with $2, of entries or beneath $1: without their scopes, since bash breaks
# words at the colon. Others have chosen them: compgen -W would run what stands there as $(...).
_pagsrv_names() {
    local name quoted
    while IFS= read -r name; do
        name=${name#*/}
        printf -v quoted %q "$name"
        if [[ $name == "$2"* || $quoted == "$2"* ]]; then
            COMPREPLY+=("$quoted")
        fi
    done < <(pagsrv ls ${1:+"$1"} 2>/dev/null)
}

_pagsrv() {
    local commands='broker session pagsh whoami post open take exec connect fdpass ls stat rm mv
        setperm timeout grant ungrant wait watch tui mount whois peerkeyring door
        fdstore doctor'
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local command='' options place word
    COMPREPLY=()
    for ((place = 1; place < COMP_CWORD; place++)); do
        word=${COMP_WORDS[place]}
        case $word in
            --dir) ((place++)) ;;
            --)
                # What follows is another command's business.
                mapfile -t COMPREPLY < <(compgen -c -f -- "$cur")
                return
                ;;
            -*) ;;
            *) [[ -n $command ]] || command=$word ;;
        esac
    done
    options=$(_pagsrv_options "$command")
    if [[ $prev == -* && " ${options//$'\n'/ } " == *" $prev= "* ]]; then
        _pagsrv_values "$prev" "$cur"
    elif [[ -z $command ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$commands --dir -h --help --version" -- "$cur")
    elif [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "${options//=/}" -- "$cur")
    else
        case $command in
            open | connect | fdpass | ls)
                # What lies beneath an entry, too.
                word=''
                [[ $cur != */* ]] || word=${cur%/*}/
                _pagsrv_names "$word" "$cur"
                ;;
            post | take | stat | rm | mv | setperm | timeout | grant | ungrant | wait)
                _pagsrv_names '' "$cur"
                ;;
            peerkeyring)
                mapfile -t COMPREPLY < <(compgen -W 'install remove status serve' -- "$cur")
                ;;
            mount) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
            door)
                if [[ $prev == s6 ]]; then
                    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
                else
                    mapfile -t COMPREPLY < <(compgen -W s6 -- "$cur")
                fi
                ;;
            fdstore)
                if [[ ${COMP_WORDS[*]:0:COMP_CWORD} == *' export'* ]]; then
                    _pagsrv_names '' "$cur"
                else
                    mapfile -t COMPREPLY < <(compgen -W 'import export' -- "$cur")
                fi
                ;;
        esac
    fi
}

# The same words with less before them.
_pagsrv_open() {
    COMP_WORDS=(pagsrv open "${COMP_WORDS[@]:1}")
    ((COMP_CWORD++))
    _pagsrv
}

complete -F _pagsrv pagsrv
complete -F _pagsrv_open pagsrv-open
