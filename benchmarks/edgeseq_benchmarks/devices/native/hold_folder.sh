# Makes a private folder for one run, prints its path, and removes it when the input ends: with the
# connection or with this machine's wish. The rules are those of `remote/run_folder.py`.
#   KEY        names the folder: a hash of what is sent
#   NEEDED_KB  the room that it takes
#   BASE       where it is made; chosen here when empty
# Prints `folder PATH`, `busy PID` (another run), `full KB BASE` or `error WORDS`.
LC_ALL=C; export LC_ALL; umask 077
key=$1 needed_kb=$2 given=$3
uid=$(id -u)

is_private() {
  line=$(ls -ldn -- "$1" 2>/dev/null) || return 1
  case $line in drwx------*) ;; *) return 1 ;; esac
  set -- $line
  [ "$3" = "$uid" ]
}

# The last mount over a folder: its type, and whether programs may be started from it.
mounted() {
  point=$(df -P -- "$1" 2>/dev/null | tail -n 1 | sed 's/.*% *//')
  kind='' options=''
  while read -r _ place type words _; do
    [ "$place" = "$point" ] && kind=$type options=$words
  done </proc/mounts
}

running() {
  pid=$(cat "$1/pid" 2>/dev/null) || return 1
  case $pid in '' | *[!0-9]*) return 1 ;; esac
  # BusyBox' grep ends a line at a NUL.
  tr '\000' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -q -F -x -e "$1"
}

best='' best_memory='' best_kb=0 best_base=''
if [ -n "$given" ]; then set -- "$given"; else
  set -- "${XDG_CACHE_HOME:-$HOME/.cache}" /var/tmp "$HOME" /tmp
fi
for base in "$@"; do
  [ -d "$base" ] && [ -w "$base" ] && [ -x "$base" ] || continue
  folder=$base/edgeseq-$uid
  if [ -e "$folder" ] || [ -L "$folder" ]; then
    is_private "$folder" || { printf 'error %s is not a private folder of this user\n' "$folder"; exit 1; }
    for run in "$folder"/*; do
      name=${run##*/}
      case $name in *[!0-9a-f]*) continue ;; esac
      [ -d "$run" ] && [ "${#name}" -eq 24 ] || continue
      if running "$run"; then printf 'busy %s\n' "$pid"; exit 1; fi
      if [ -n "$(find "$run/alive" -mmin -1 2>/dev/null)" ]; then printf 'busy 0\n'; exit 1; fi
      rm -rf -- "$run"
    done
  fi
  mounted "$base"
  case ,$options, in *,noexec,*) continue ;; esac
  free_kb=$(df -Pk -- "$base" | tail -n 1 | { read -r _ _ _ free _; printf '%s' "$free"; })
  [ "$free_kb" -gt "$best_kb" ] && best_kb=$free_kb best_base=$base
  [ "$free_kb" -ge "$needed_kb" ] || continue
  case $kind in tmpfs | ramfs | rootfs | devtmpfs) memory=1 ;; *) memory='' ;; esac
  # On a disk where there is one: pages of a memory file system are memory themselves.
  if [ -z "$best" ] || { [ -n "$best_memory" ] && [ -z "$memory" ]; }; then
    best=$base best_memory=$memory
  fi
done
case $best in *'
'*) printf 'error %s\n' 'a folder whose name has a line end'; exit 1 ;; esac
[ -n "$best" ] || { printf 'full %s %s\n' "$best_kb" "$best_base"; exit 1; }
folder=$best/edgeseq-$uid
mkdir -m 700 -- "$folder" 2>/dev/null
is_private "$folder" || { printf 'error %s is not a private folder of this user\n' "$folder"; exit 1; }
mkdir -m 700 -- "$folder/$key" 2>/dev/null || { printf 'error %s cannot be made\n' "$folder/$key"; exit 1; }
printf '%s\n' "$$" >"$folder/$key/pid"
# The folder is in this process's command line from now on, as that of a measuring process is.
exec /bin/sh -c '
exec 3<&0
cat <&3 >/dev/null & reader=$!
trap "kill $reader 2>/dev/null; rm -rf -- \"\$1\"; rmdir -- \"\${1%/*}\" 2>/dev/null" EXIT
trap "exit 1" HUP INT TERM
printf "%s %s\n" "$2" "$1"
wait "$reader"
' edgeseq "$folder/$key" "folder${best_memory:+_in_memory}"
