# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: CC0-1.0
# Completion for bash: verbs, options out of --help, and the devices that are on a bus.

_vhost_options() {
  "$@" --help 2>/dev/null | grep -oE -- '--[a-z][a-z0-9-]*=?' | sort -u
}

_vhostctl() {
  local word=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]}
  COMPREPLY=()
  if [ "$COMP_CWORD" = 1 ]; then
    mapfile -t COMPREPLY < <(compgen -W "$(vhostctl --help 2>/dev/null | awk '/^Verbs:/ { on = 1; next } /^$/ { on = 0 } on { print $1 }') --help --version" -- "$word")
    return
  fi
  if [[ $word == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$(_vhost_options vhostctl "$verb")" -- "$word")
    [[ ${COMPREPLY[0]-} != *= ]] || compopt -o nospace
    return
  fi
  case $verb in
    show | set | pause | resume | disconnect | monitor | remove)
      if [ "$COMP_CWORD" = 2 ]; then
        mapfile -t COMPREPLY < <(compgen -W "$(vhostctl list 2>/dev/null | awk 'NR > 1 { print $1 }')" -- "$word")
      elif [ "$verb" = set ]; then
        mapfile -t COMPREPLY < <(compgen -W "$(vhostctl show "${COMP_WORDS[2]}" 2>/dev/null | awk '$1 == "*" { print $2 "=" }')" -- "$word")
        compopt -o nospace
      fi
      ;;
    bench | conform | probe | shell) compopt -o default ;;
  esac
}

_vhostd() {
  local word=${COMP_WORDS[COMP_CWORD]} type=${COMP_WORDS[1]}
  COMPREPLY=()
  if [ "$COMP_CWORD" = 1 ]; then
    mapfile -t COMPREPLY < <(compgen -W "$(vhostd --help 2>/dev/null | awk '/^Types:/ { on = 1; next } /^$/ { on = 0 } on { print $1 }') run --help --version" -- "$word")
  elif [[ $word == -* ]]; then
    if [ "$type" = run ]; then
      mapfile -t COMPREPLY < <(compgen -W "$(_vhost_options vhostd run "${COMP_WORDS[2]}")" -- "$word")
    else
      mapfile -t COMPREPLY < <(compgen -W "$(_vhost_options vhostd "$type")" -- "$word")
    fi
    [[ ${COMPREPLY[0]-} != *= ]] || compopt -o nospace
  else
    compopt -o default
  fi
}

complete -F _vhostctl vhostctl
complete -F _vhostd vhostd
