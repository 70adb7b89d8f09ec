#!/usr/bin/env bash
# Written by yoyo. Runs as root at every boot of the node: first arms the guards, then does what
# is still missing until the engine answers. Nothing secret is in it.
set -euo pipefail
shopt -s inherit_errexit
export HOME=/root
umask 022

# What yoyo.yaml says about this node. Nothing of the life is here: that is read from the
# metadata, so that the script is the same at every boot.
ENGINE_COMMIT=0123456789abcdef0123456789abcdef01234567
ENGINE_REPO=https://github.com/ggml-org/llama.cpp
BUNDLE_URL=''
BUNDLE_SHA256=''
CUDA_ARCH=89
BUILD_JOBS=2
WEIGHTS_URLS=()
WEIGHTS_SHA256=''
WEIGHTS_BYTES=18500000000
HOST=0.0.0.0
PORT=8443
TLS=yes
GPU=yes
MIN_DRIVER=580
IMAGE_HINT='common-cu129-ubuntu-2404-nvidia-580 of deeplearning-platform-release'
LEASE_S=900
# shellcheck disable=SC2034  # for the dead-man alone
UNREACHABLE_AFTER_S=1200
LIFETIME_S=14400
STOP_GRACE_S=60
DPKG_WAIT_S=300

# Other places than the real ones are for tests.
ROOT=${YOYO_ROOT:-}
METADATA=${YOYO_METADATA:-http://metadata.google.internal/computeMetadata/v1}
PUBLISH_EVERY_S=${YOYO_PUBLISH_EVERY_S:-10}
STORAGE=${YOYO_STORAGE:-https://storage.googleapis.com}
ETC=$ROOT/etc/yoyo
STATE=$ROOT/var/lib/yoyo
RUN=$ROOT/run/yoyo
LIB=$ROOT/usr/local/lib/yoyo
UNITS=$ROOT/etc/systemd/system
ENGINES=$ROOT/opt/yoyo/engine
MODEL=$STATE/models/$WEIGHTS_SHA256.gguf
if [[ $GPU == yes ]]; then
  ENGINE_ID=$ENGINE_COMMIT-sm$CUDA_ARCH
else
  ENGINE_ID=$ENGINE_COMMIT-cpu
fi
export TZ=UTC LC_ALL=C

# What the node takes from the store: each set pinned by the sha256 of its manifest. The engine
# is given the first file of the weights.
STORE=gs://artefacts/team
WEIGHTS_NAME=qwen3-32b@2
WEIGHTS_MANIFEST=1212121212121212121212121212121212121212121212121212121212121212
WEIGHTS_PATHS=('q4/it'"'"'s-00001-of-00002.gguf' 'q4/it'"'"'s-00002-of-00002.gguf')
WEIGHTS_SIZES=(10000000000 8500000000)
WEIGHTS_DIGESTS=(abababababababababababababababababababababababababababababababab cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd)
BUNDLE_NAME=llama-b6900-sm89
BUNDLE_MANIFEST=3434343434343434343434343434343434343434343434343434343434343434
BUNDLE_PATHS=(bundle.tar.zst)
BUNDLE_SIZES=(900000000)
BUNDLE_DIGESTS=(efefefefefefefefefefefefefefefefefefefefefefefefefefefefefefefef)
ADAPTER1_NAME=dka-style@1.2.0
ADAPTER1_MANIFEST=5656565656565656565656565656565656565656565656565656565656565656
ADAPTER1_PATHS=(dka-style@1.2.0.gguf)
ADAPTER1_SIZES=(50000000)
ADAPTER1_DIGESTS=(7878787878787878787878787878787878787878787878787878787878787878)
ADAPTER2_NAME=acme-legal@0.3.0+b1
ADAPTER2_MANIFEST=9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a
ADAPTER2_PATHS=(acme-legal@0.3.0+b1.gguf)
ADAPTER2_SIZES=(60000000)
ADAPTER2_DIGESTS=(bcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbc)
if [[ -n $BUNDLE_MANIFEST ]]; then ENGINE_ID=bundle-${BUNDLE_DIGESTS[0]:0:16}; fi

# Shared by the startup script and by the scripts that it leaves on the node.

# Seconds since boot: no change of the clock or of the time zone touches them.
uptime_s() {
  local up
  read -r up _ <"$ROOT/proc/uptime"
  printf '%s\n' "${up%%.*}"
}

# say TEXT: one line to the serial console.
say() {
  { printf 'yoyo: %s\n' "$*" >>"$ROOT/dev/console"; } 2>/dev/null || printf 'yoyo: %s\n' "$*"
}

# metadata PATH [CURL OPTION...]: prints an entry; fails where there is none.
metadata() {
  curl --silent --fail --noproxy '*' --max-time 5 --header 'Metadata-Flavor: Google' \
    "${@:2}" "$METADATA/$1"
}

# What the node says of itself is one guest attribute, yoyo/state, a line a value: Google takes 10
# writes a minute from a machine and may drop what is being written above that, and its own agent
# needs some of them. Nothing here ever fails: it may end neither a bootstrap nor a guard.

# publish KEY VALUE: goes out with the next write, within PUBLISH_EVERY_S. Of several lines: base64.
publish() {
  keep_value "$1" "$2" || return 0
  send_state later
}

# publish_now KEY VALUE: what somebody waits for.
publish_now() {
  keep_value "$1" "$2" || say "could not publish $1"
  send_state now
}

# publish_last KEY VALUE: a guard's word before it powers off. It waits for nothing and nobody.
publish_last() {
  keep_value "$1" "$2" || true
  send_state last
}

keep_value() {
  local part=$RUN/state.d/.$1.$BASHPID
  mkdir -p "$RUN/state.d"
  printf '%s' "$2" >"$part" && mv -f "$part" "$RUN/state.d/$1"
}

uptime_cs() {
  local up
  read -r up _ <"$ROOT/proc/uptime"
  printf '%s\n' "$((10#${up/./}))" # 0.85 is no octal number
}

# send_state now|later|last. SENT holds when the writes of the last minute were made.
send_state() {
  local now last count before=() sent each wait_cs
  exec 7>"$RUN/state.lock"
  if [[ $1 == last ]]; then flock --timeout 1 7 || true; else flock 7; fi
  while :; do
    now=$(uptime_cs) last=-100000 count=0 sent=()
    if [[ -f $RUN/state.sent ]]; then mapfile -t before <"$RUN/state.sent"; fi
    for each in "${before[@]}"; do
      if ((each > now - 6000)); then sent+=("$each") last=$each count=$((count + 1)); fi
    done
    if [[ $1 == later ]]; then wait_cs=$((last + PUBLISH_EVERY_S * 100 - now)); else wait_cs=$((last + 40 - now)); fi
    if ((count >= 7)); then wait_cs=$((sent[0] + 6000 - now)); fi
    if [[ $1 == last ]] || ((wait_cs <= 0 || PUBLISH_EVERY_S == 0)); then break; fi
    if [[ $1 == later ]]; then
      send_later "$wait_cs"
      exec 7>&-
      return
    fi
    sleep 0.1
  done
  rm -f "$RUN/state.pending"
  printf '%s\n' "${sent[@]}" "$now" >"$RUN/state.sent"
  (cd "$RUN/state.d" && for each in *; do printf '%s %s\n' "$each" "$(<"$each")"; done) >"$RUN/state"
  metadata instance/guest-attributes/yoyo/state --request PUT --data-binary "@$RUN/state" \
    --retry 4 --retry-max-time 10 --output /dev/null || say 'could not publish the state'
  exec 7>&-
}

# A grandchild, so that no script waits for it, with none of their locks.
send_later() {
  if [[ -f $RUN/state.pending ]]; then return; fi
  : >"$RUN/state.pending"
  (
    {
      sleep "$(($1 / 100 + 1))"
      send_state now
    } 7>&- 8>&- 9>&- </dev/null >/dev/null 2>&1 &
  )
}

# What is really armed, read back from systemd.
armed_guards() {
  local armed=''
  if systemctl --quiet is-active yoyo-dead-man.timer; then armed="dead-man=$LEASE_S"; fi
  if systemctl --quiet is-active yoyo-lifetime.timer; then armed+=" lifetime=$LIFETIME_S"; fi
  printf '%s\n' "${armed# }"
}

# engine_get PATH [CURL OPTION...]: asks the engine on this machine. The key goes through a
# pipe: the arguments of a process are public.
engine_get() {
  local address=$HOST scheme=http key='' pin=()
  case $address in
    0.0.0.0) address=127.0.0.1 ;;
    ::) address='[::1]' ;;
    *:*) address="[$address]" ;;
  esac
  # The public half of the certificate is the check, as it is for the controller: a CA's kind
  # of check would fail when the node's clock is wrong.
  if [[ $TLS == yes ]]; then scheme=https pin=(--insecure --pinnedpubkey "$ETC/tls-pub.pem"); fi
  if [[ -r $ETC/engine.key ]]; then read -r key <"$ETC/engine.key" || true; fi
  curl --silent --noproxy '*' --max-time 5 "${pin[@]}" --config \
    <(printf 'header = "Authorization: Bearer %s"\n' "$key") "${@:2}" "$scheme://$address:$PORT$1"
}

# wait_for_attributes SECONDS: returns when the instance's attributes differ from those of the
# call before (the first call returns at once), or after SECONDS.
ETAG=0
wait_for_attributes() {
  local headers
  if ! headers=$(metadata "instance/attributes/?recursive=true&wait_for_change=true&timeout_sec=$1&last_etag=$ETAG" \
    --max-time "$(($1 + 10))" --output /dev/null --dump-header -); then
    sleep 1
    return
  fi
  ETAG=$(awk 'tolower($1) == "etag:" { gsub(/\r/, ""); print $2 }' <<<"$headers")
}

# install_file PATH MODE <TEXT: writes only what differs, so that a full disk does not hinder a
# node that has everything; sets CHANGED=yes when it wrote.
install_file() {
  local text part=$1.part
  text=$(cat)
  if [[ -f $1 && $(<"$1") == "$text" ]]; then return; fi
  mkdir -p "$(dirname "$1")"
  printf '%s\n' "$text" >"$part"
  chmod "$2" "$part"
  sync "$part"
  mv -f "$part" "$1"
  # shellcheck disable=SC2034  # read by the steps
  CHANGED=yes
}

# Running steps: each in a process and with a log of its own.

LOGS=$ROOT/var/log/yoyo
STEP='' STEP_BEGAN=0

# report STATE PERCENT MESSAGE: where the current step stands.
report() {
  local seconds message=${3//[$'\n\r\t']/ }
  seconds=$(($(uptime_s) - STEP_BEGAN))
  message=${message:0:400}
  say "step $STEP $1 $2% ${seconds}s $message"
  publish "step-$STEP" "$1 $2 $seconds $message"
}

# For use inside a step. What is said last is what the step's report says at its end.
progress() { report running "$1" "$2"; }
note() { printf '%s' "$*" >"$RUN/$STEP.message"; }
skip() { note "$*"; : >"$RUN/$STEP.skipped"; }

# fail WHAT WHY REMEDY: ends the step.
fail() {
  printf 'failed: %s (%s)\n' "$1" "$2" >&2
  note "$1; why: $2; fix: $3"
  exit 1
}

# The log directory may be unwritable (a full or read-only disk); a step without its log is
# better than no step.
prepare_directories() {
  mkdir -p "$RUN"
  if ! { mkdir -p "$LOGS" && : >"$LOGS/startup.log"; } 2>/dev/null; then
    say "log directory $LOGS is not writable: logging to $RUN/log"
    LOGS=$RUN/log
    mkdir -p "$LOGS"
  fi
}

# reporting_while PID SECONDS COMMAND...: runs COMMAND every SECONDS until the child PID ends.
# The report is never written from a process of its own: one that comes late would overwrite
# the step's last word.
reporting_while() {
  local pid=$1 pause=$2
  while "${@:3}"; kill -0 "$pid" 2>/dev/null; do
    sleep "$pause" 5>&- 9>&- & # it may outlive the step, and must not hold its locks then
    wait -n "$pid" "$!" || true
  done
}

begin_step() {
  STEP=$1
  STEP_BEGAN=$(uptime_s)
  rm -f "$RUN/$STEP.message" "$RUN/$STEP.skipped" "$RUN/$STEP.seconds" "$RUN/$STEP.ended"
}

# In the background, since `set -e` does not hold inside a condition.
execute_step() {
  local code=0
  "step_$STEP" >"$LOGS/$STEP.log" 2>&1 </dev/null &
  wait "$!" || code=$?
  printf '%s\n' "$(($(uptime_s) - STEP_BEGAN))" >"$RUN/$STEP.seconds"
  printf '%s\n' "$code" >"$RUN/$STEP.ended"
}

finish_step() {
  local code message=''
  code=$(<"$RUN/$STEP.ended")
  if [[ -f $RUN/$STEP.message ]]; then message=$(<"$RUN/$STEP.message"); fi
  if [[ $code == 0 && -f $RUN/$STEP.skipped ]]; then
    report skipped 100 "$message"
  elif [[ $code == 0 ]]; then
    report 'done' 100 "$message"
  else
    # Two steps may fail at once; the first is the one that is named.
    (set -o noclobber && printf '%s' "$STEP" >"$RUN/failed") 2>/dev/null || true
    keep_value "tail-$STEP" "$(tail -n 15 "$LOGS/$STEP.log" | tail -c 4000 | base64 --wrap 0)"
    report failed 0 "${message:-ended with status $code; why: see its log $LOGS/$STEP.log; fix: mend that, then run yoyo up again}"
    return 1
  fi
}

run_step() {
  begin_step "$1"
  report running 0 ''
  execute_step
  finish_step
}

# wait_for_chains COUNT: every chain of steps in the background; false at the first failure.
wait_for_chains() {
  local left=$1
  while ((left-- > 0)); do
    wait -n || return 1
  done
}

seconds_of() {
  local step sum=0 seconds
  for step in "$@"; do
    if [[ -f $RUN/$step.seconds ]]; then
      seconds=$(<"$RUN/$step.seconds")
      sum=$((sum + seconds))
    fi
  done
  printf '%s\n' "$sum"
}

# The chain of steps that the whole start took as long as.
critical_path() {
  local chain longest='' most=-1 line='' step sum
  for chain in gpu key 'dpkg packages engine' 'dpkg packages weights'; do
    # shellcheck disable=SC2086  # a list of step names
    sum=$(seconds_of $chain)
    if ((sum > most)); then most=$sum longest=$chain; fi
  done
  for step in guards identity $longest unit health; do
    line+=" > $step $(seconds_of "$step")s"
  done
  printf '%s\n' "${line# > }"
}

# Step guards: the dead-man and the lifetime cap. They come before anything that can fail or
# hang, need no cloud credential, and stay armed whatever happens later.

install_guard_scripts() {
  install_file "$LIB/lib.sh" 0644 <<'YOYO_FILE'
# Written by yoyo's startup script; written again, it replaces this file.
# shellcheck shell=bash disable=SC2034
# What yoyo.yaml says about this node. Nothing of the life is here: that is read from the
# metadata, so that the script is the same at every boot.
ENGINE_COMMIT=0123456789abcdef0123456789abcdef01234567
ENGINE_REPO=https://github.com/ggml-org/llama.cpp
BUNDLE_URL=''
BUNDLE_SHA256=''
CUDA_ARCH=89
BUILD_JOBS=2
WEIGHTS_URLS=()
WEIGHTS_SHA256=''
WEIGHTS_BYTES=18500000000
HOST=0.0.0.0
PORT=8443
TLS=yes
GPU=yes
MIN_DRIVER=580
IMAGE_HINT='common-cu129-ubuntu-2404-nvidia-580 of deeplearning-platform-release'
LEASE_S=900
# shellcheck disable=SC2034  # for the dead-man alone
UNREACHABLE_AFTER_S=1200
LIFETIME_S=14400
STOP_GRACE_S=60
DPKG_WAIT_S=300

# Other places than the real ones are for tests.
ROOT=${YOYO_ROOT:-}
METADATA=${YOYO_METADATA:-http://metadata.google.internal/computeMetadata/v1}
PUBLISH_EVERY_S=${YOYO_PUBLISH_EVERY_S:-10}
STORAGE=${YOYO_STORAGE:-https://storage.googleapis.com}
ETC=$ROOT/etc/yoyo
STATE=$ROOT/var/lib/yoyo
RUN=$ROOT/run/yoyo
LIB=$ROOT/usr/local/lib/yoyo
UNITS=$ROOT/etc/systemd/system
ENGINES=$ROOT/opt/yoyo/engine
MODEL=$STATE/models/$WEIGHTS_SHA256.gguf
if [[ $GPU == yes ]]; then
  ENGINE_ID=$ENGINE_COMMIT-sm$CUDA_ARCH
else
  ENGINE_ID=$ENGINE_COMMIT-cpu
fi
export TZ=UTC LC_ALL=C

# Shared by the startup script and by the scripts that it leaves on the node.

# Seconds since boot: no change of the clock or of the time zone touches them.
uptime_s() {
  local up
  read -r up _ <"$ROOT/proc/uptime"
  printf '%s\n' "${up%%.*}"
}

# say TEXT: one line to the serial console.
say() {
  { printf 'yoyo: %s\n' "$*" >>"$ROOT/dev/console"; } 2>/dev/null || printf 'yoyo: %s\n' "$*"
}

# metadata PATH [CURL OPTION...]: prints an entry; fails where there is none.
metadata() {
  curl --silent --fail --noproxy '*' --max-time 5 --header 'Metadata-Flavor: Google' \
    "${@:2}" "$METADATA/$1"
}

# What the node says of itself is one guest attribute, yoyo/state, a line a value: Google takes 10
# writes a minute from a machine and may drop what is being written above that, and its own agent
# needs some of them. Nothing here ever fails: it may end neither a bootstrap nor a guard.

# publish KEY VALUE: goes out with the next write, within PUBLISH_EVERY_S. Of several lines: base64.
publish() {
  keep_value "$1" "$2" || return 0
  send_state later
}

# publish_now KEY VALUE: what somebody waits for.
publish_now() {
  keep_value "$1" "$2" || say "could not publish $1"
  send_state now
}

# publish_last KEY VALUE: a guard's word before it powers off. It waits for nothing and nobody.
publish_last() {
  keep_value "$1" "$2" || true
  send_state last
}

keep_value() {
  local part=$RUN/state.d/.$1.$BASHPID
  mkdir -p "$RUN/state.d"
  printf '%s' "$2" >"$part" && mv -f "$part" "$RUN/state.d/$1"
}

uptime_cs() {
  local up
  read -r up _ <"$ROOT/proc/uptime"
  printf '%s\n' "$((10#${up/./}))" # 0.85 is no octal number
}

# send_state now|later|last. SENT holds when the writes of the last minute were made.
send_state() {
  local now last count before=() sent each wait_cs
  exec 7>"$RUN/state.lock"
  if [[ $1 == last ]]; then flock --timeout 1 7 || true; else flock 7; fi
  while :; do
    now=$(uptime_cs) last=-100000 count=0 sent=()
    if [[ -f $RUN/state.sent ]]; then mapfile -t before <"$RUN/state.sent"; fi
    for each in "${before[@]}"; do
      if ((each > now - 6000)); then sent+=("$each") last=$each count=$((count + 1)); fi
    done
    if [[ $1 == later ]]; then wait_cs=$((last + PUBLISH_EVERY_S * 100 - now)); else wait_cs=$((last + 40 - now)); fi
    if ((count >= 7)); then wait_cs=$((sent[0] + 6000 - now)); fi
    if [[ $1 == last ]] || ((wait_cs <= 0 || PUBLISH_EVERY_S == 0)); then break; fi
    if [[ $1 == later ]]; then
      send_later "$wait_cs"
      exec 7>&-
      return
    fi
    sleep 0.1
  done
  rm -f "$RUN/state.pending"
  printf '%s\n' "${sent[@]}" "$now" >"$RUN/state.sent"
  (cd "$RUN/state.d" && for each in *; do printf '%s %s\n' "$each" "$(<"$each")"; done) >"$RUN/state"
  metadata instance/guest-attributes/yoyo/state --request PUT --data-binary "@$RUN/state" \
    --retry 4 --retry-max-time 10 --output /dev/null || say 'could not publish the state'
  exec 7>&-
}

# A grandchild, so that no script waits for it, with none of their locks.
send_later() {
  if [[ -f $RUN/state.pending ]]; then return; fi
  : >"$RUN/state.pending"
  (
    {
      sleep "$(($1 / 100 + 1))"
      send_state now
    } 7>&- 8>&- 9>&- </dev/null >/dev/null 2>&1 &
  )
}

# What is really armed, read back from systemd.
armed_guards() {
  local armed=''
  if systemctl --quiet is-active yoyo-dead-man.timer; then armed="dead-man=$LEASE_S"; fi
  if systemctl --quiet is-active yoyo-lifetime.timer; then armed+=" lifetime=$LIFETIME_S"; fi
  printf '%s\n' "${armed# }"
}

# engine_get PATH [CURL OPTION...]: asks the engine on this machine. The key goes through a
# pipe: the arguments of a process are public.
engine_get() {
  local address=$HOST scheme=http key='' pin=()
  case $address in
    0.0.0.0) address=127.0.0.1 ;;
    ::) address='[::1]' ;;
    *:*) address="[$address]" ;;
  esac
  # The public half of the certificate is the check, as it is for the controller: a CA's kind
  # of check would fail when the node's clock is wrong.
  if [[ $TLS == yes ]]; then scheme=https pin=(--insecure --pinnedpubkey "$ETC/tls-pub.pem"); fi
  if [[ -r $ETC/engine.key ]]; then read -r key <"$ETC/engine.key" || true; fi
  curl --silent --noproxy '*' --max-time 5 "${pin[@]}" --config \
    <(printf 'header = "Authorization: Bearer %s"\n' "$key") "${@:2}" "$scheme://$address:$PORT$1"
}

# wait_for_attributes SECONDS: returns when the instance's attributes differ from those of the
# call before (the first call returns at once), or after SECONDS.
ETAG=0
wait_for_attributes() {
  local headers
  if ! headers=$(metadata "instance/attributes/?recursive=true&wait_for_change=true&timeout_sec=$1&last_etag=$ETAG" \
    --max-time "$(($1 + 10))" --output /dev/null --dump-header -); then
    sleep 1
    return
  fi
  ETAG=$(awk 'tolower($1) == "etag:" { gsub(/\r/, ""); print $2 }' <<<"$headers")
}

# install_file PATH MODE <TEXT: writes only what differs, so that a full disk does not hinder a
# node that has everything; sets CHANGED=yes when it wrote.
install_file() {
  local text part=$1.part
  text=$(cat)
  if [[ -f $1 && $(<"$1") == "$text" ]]; then return; fi
  mkdir -p "$(dirname "$1")"
  printf '%s\n' "$text" >"$part"
  chmod "$2" "$part"
  sync "$part"
  mv -f "$part" "$1"
  # shellcheck disable=SC2034  # read by the steps
  CHANGED=yes
}
YOYO_FILE
  install_file "$LIB/power-off" 0755 <<'YOYO_FILE'
#!/usr/bin/env bash
# power-off CAUSE: says why, then powers off; after a minute by force. Run by a guard.
set -euo pipefail
# shellcheck source=/dev/null
. "${YOYO_ROOT:-}/usr/local/lib/yoyo/lib.sh"

request=''
if [[ -f $RUN/request ]]; then request=$(<"$RUN/request"); fi
say "powering off: $1"
publish_last stop-cause "$request $1" || true
timeout 10 systemctl --no-block poweroff || true
sleep 60
say 'the orderly power-off hangs: powering off by force'
# Twice: past systemd's own manager, which may be what hangs.
systemctl poweroff --force --force
YOYO_FILE
  install_file "$LIB/dead-man" 0755 <<'YOYO_FILE'
#!/usr/bin/env bash
# One look of the dead-man: stops the node when nobody renews the lease and nothing works here.
# All times are seconds since boot. What it remembers is in /run, so that a boot starts anew.
set -euo pipefail
# shellcheck source=/dev/null
. "${YOYO_ROOT:-}/usr/local/lib/yoyo/lib.sh"

mkdir -p "$RUN"
memory=$RUN/dead-man
now=$(uptime_s)
renewed_at=0 idle_looks=0 silent_since='' lease=''
if [[ -f $memory ]]; then
  { read -r renewed_at && read -r idle_looks && read -r silent_since && read -r lease; } <"$memory" || true
fi

remember() {
  printf '%s\n' "$renewed_at" "$idle_looks" "$silent_since" "$lease" >"$memory.part"
  mv -f "$memory.part" "$memory"
}

power_off() {
  remember
  systemctl --no-block start "yoyo-power-off@$1.service" || exec "$LIB/power-off" "$1"
  exit
}

# Reads the engine's list of slots: one or more, and each says that it processes nothing. No jq:
# that would be one more package at the first boot. Without escapes and strings only structure is
# left, so that no prompt in it can pose as an answer.
all_slots_rest() {
  awk '
    { text = text $0 }
    END {
      gsub(/\\./, "", text)
      resting = gsub(/"is_processing"[ \t]*:[ \t]*false/, "F", text)
      gsub(/"[^"]*"/, "S", text)
      for (at = 1; at <= length(text); at++) {
        sign = substr(text, at, 1)
        if (sign == "{" || sign == "[") { if (++depth == 2 && sign == "{") slots++ }
        if (sign == "}" || sign == "]") depth--
      }
      exit text ~ /^[ \t]*\[/ && slots > 0 && resting == slots && depth == 0 ? 0 : 1
    }'
}

# Nothing works here. Every reading that fails counts as work.
is_idle() {
  local metrics slots people
  # The startup script holds this lock for as long as a step runs, a build for one.
  flock --nonblock "$RUN/bootstrap.lock" true || return
  people=$(who) && [[ -z $people ]] || return
  # An authenticated session carries user@terminal; whoever only knocks at the port does not.
  people=$(ps -eo args=) || return
  ! grep -Eq '^sshd(-session)?: [^ ]+@' <<<"$people" || return
  metrics=$(engine_get /metrics --fail) || return
  awk '$1 == "llamacpp:requests_processing" || $1 == "llamacpp:requests_deferred" {
         seen++; if ($2 + 0 != 0 || $2 !~ /^[0-9]/) busy = 1 }
       END { exit seen == 2 && !busy ? 0 : 1 }' <<<"$metrics" || return
  slots=$(engine_get /slots --fail) || return
  all_slots_rest <<<"$slots"
}

# A metadata server that is gone cannot renew the lease: it goes on from the last change.
if current=$(metadata instance/attributes/yoyo-lease) && [[ $current != "$lease" ]]; then
  if [[ -f $memory ]]; then renewed_at=$now; fi
  lease=$current
fi

if ((now - renewed_at < LEASE_S)); then
  idle_looks=0 silent_since=''
elif ! engine_get /health --output /dev/null; then
  # A fault, not work: it has a rule of its own.
  idle_looks=0
  silent_since=${silent_since:-$now}
  if ((now - silent_since >= UNREACHABLE_AFTER_S)); then power_off unreachable; fi
else
  silent_since=''
  if is_idle; then idle_looks=$((idle_looks + 1)); else idle_looks=0; fi
  if ((idle_looks >= 2)); then power_off dead-man; fi
fi
remember
YOYO_FILE
  install_file "$LIB/lifetime" 0755 <<'YOYO_FILE'
#!/usr/bin/env bash
# The lifetime cap has been reached: warn, run the hooks, power off.
set -euo pipefail
# shellcheck source=/dev/null
. "${YOYO_ROOT:-}/usr/local/lib/yoyo/lib.sh"

text="lifetime of $LIFETIME_S s reached: this node powers off"
say "$text"
timeout 5 wall "yoyo: $text" || true

deadline=$(($(uptime_s) + STOP_GRACE_S))
for hook in "$ETC"/pre-stop.d/*; do
  if [[ ! -x $hook ]]; then continue; fi
  left=$((deadline - $(uptime_s)))
  if ((left <= 0)); then
    say "no time left for $hook"
    break
  fi
  timeout --kill-after=5 "$left" "$hook" </dev/null || say "$hook ended with status $?"
done
systemctl --no-block start yoyo-power-off@lifetime.service || exec "$LIB/power-off" lifetime
YOYO_FILE
}

install_guard_units() {
  # Without default dependencies a shutdown under way does not end the script that is to force
  # it when it hangs; the slice that an instance gets by default would end with it too.
  install_file "$UNITS/yoyo-power-off@.service" 0644 <<YOYO_FILE
[Unit]
Description=yoyo: power off (%i)
DefaultDependencies=no

[Service]
Slice=system.slice
ExecStart=$LIB/power-off %i
YOYO_FILE
  install_file "$UNITS/yoyo-dead-man.service" 0644 <<YOYO_FILE
[Unit]
Description=yoyo: one look of the dead-man

[Service]
Type=oneshot
ExecStart=$LIB/dead-man
TimeoutStartSec=60s
YOYO_FILE
  # OnUnitInactiveSec= counts from the end of a look, also of one that failed.
  install_file "$UNITS/yoyo-dead-man.timer" 0644 <<YOYO_FILE
[Unit]
Description=yoyo: the dead-man's clock ($LEASE_S s of lease)

[Timer]
OnBootSec=30s
OnUnitInactiveSec=30s
AccuracySec=1s

[Install]
WantedBy=timers.target
YOYO_FILE
  install_file "$UNITS/yoyo-lifetime.service" 0644 <<YOYO_FILE
[Unit]
Description=yoyo: the lifetime cap
DefaultDependencies=no
OnFailure=yoyo-power-off@lifetime.service

[Service]
Type=oneshot
ExecStart=$LIB/lifetime
TimeoutStartSec=$((STOP_GRACE_S + 30))s
YOYO_FILE
  install_file "$UNITS/yoyo-lifetime.timer" 0644 <<YOYO_FILE
[Unit]
Description=yoyo: the lifetime cap's clock

[Timer]
OnBootSec=${LIFETIME_S}s
AccuracySec=1s

[Install]
WantedBy=timers.target
YOYO_FILE
}

# each_is STATE: true when systemd says so of both timers (given both, it is content with one).
each_is() {
  systemctl --quiet "is-$1" yoyo-dead-man.timer && systemctl --quiet "is-$1" yoyo-lifetime.timer
}

step_guards() {
  local timers=(yoyo-dead-man.timer yoyo-lifetime.timer) CHANGED=no
  install_guard_scripts
  CHANGED=no
  install_guard_units
  if [[ $CHANGED == yes ]]; then
    # Enabling reloads by itself; once is enough.
    systemctl --no-reload --quiet enable "${timers[@]}"
    systemctl daemon-reload
    systemctl restart "${timers[@]}"
  elif ! each_is enabled || ! each_is active; then
    systemctl enable --quiet --now "${timers[@]}"
  fi
  each_is active ||
    fail 'a guard is not armed' 'systemd did not start its timer' 'see systemctl status yoyo-dead-man.timer yoyo-lifetime.timer'
}

# Step identity: the key that only this disk can open, and the certificate that the controller
# pins. Both are made once per disk.

ensure_user() {
  getent passwd yoyo-engine >/dev/null && return
  useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin yoyo-engine
}

# Whole files or none: a power cut must not leave half an identity.
keep() {
  chown "$3" "$1"
  chmod "$4" "$1"
  sync "$1"
  mv -f "$1" "$2"
}

# Half a second of arithmetic, begun before it is needed.
begin_seal_key() {
  if [[ -s $ETC/seal.pem ]]; then return; fi
  mkdir -p "$ETC"
  rm -f "$ETC/seal.pem.part"
  (umask 077 && exec openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out "$ETC/seal.pem.part" 2>/dev/null) &
  SEAL_KEY_JOB=$!
}

ensure_seal_key() {
  if openssl pkey -in "$ETC/seal.pem" -noout 2>/dev/null; then return; fi
  openssl pkey -in "$ETC/seal.pem.part" -noout 2>/dev/null ||
    (umask 077 && openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out "$ETC/seal.pem.part")
  keep "$ETC/seal.pem.part" "$ETC/seal.pem" root:root 0600
}

certificate_is_whole() {
  local of_cert of_key
  of_cert=$(openssl x509 -in "$ETC/tls-cert.pem" -noout -pubkey 2>/dev/null) || return
  of_key=$(openssl pkey -in "$ETC/tls-key.pem" -pubout 2>/dev/null) || return
  [[ $of_cert == "$of_key" && -f $ETC/tls-pub.pem && $(<"$ETC/tls-pub.pem") == "$of_cert" ]]
}

ensure_certificate() {
  if certificate_is_whole; then return; fi
  (umask 077 && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
    -subj /CN=yoyo -addext subjectAltName=DNS:yoyo \
    -keyout "$ETC/tls-key.pem.part" -out "$ETC/tls-cert.pem.part" 2>/dev/null)
  openssl x509 -in "$ETC/tls-cert.pem.part" -noout -pubkey >"$ETC/tls-pub.pem.part"
  keep "$ETC/tls-pub.pem.part" "$ETC/tls-pub.pem" root:root 0644
  keep "$ETC/tls-key.pem.part" "$ETC/tls-key.pem" root:yoyo-engine 0640
  keep "$ETC/tls-cert.pem.part" "$ETC/tls-cert.pem" root:yoyo-engine 0640
  : >"$RUN/engine-changed"
}

# A disk made from an image or a snapshot brings the keys of another one, which whoever can read
# that image has: under another token they go.
drop_foreign_keys() {
  local token
  token=$(metadata instance/attributes/yoyo-identity || true)
  if [[ -z $token || (-f $ETC/identity && $(<"$ETC/identity") == "$token") ]]; then return; fi
  rm -f "$ETC/seal.pem" "$ETC"/tls-*.pem "$ETC/engine.key"
  : >"$RUN/engine-changed"
  NEW_IDENTITY=$token
}

step_identity() {
  local NEW_IDENTITY=''
  mkdir -p "$ETC" "$STATE/models"
  [[ -s $RUN/request ]] ||
    fail 'this machine has no request id' 'its metadata has no yoyo-request' 'start it with yoyo up'
  ensure_user
  drop_foreign_keys
  ensure_seal_key
  ensure_certificate
  # Last: a power cut before this makes them once more.
  if [[ -n $NEW_IDENTITY ]]; then printf '%s\n' "$NEW_IDENTITY" >"$ETC/identity"; fi
  keep_value seal-key "$(openssl pkey -in "$ETC/seal.pem" -pubout | base64 --wrap 0)"
  keep_value cert "$(base64 --wrap 0 "$ETC/tls-cert.pem")"
  publish_now cert-sha256 "$(openssl x509 -in "$ETC/tls-cert.pem" -outform DER | sha256sum | cut -d ' ' -f 1)"
}

# Step dpkg: cloud-init and unattended-upgrades hold the package database at first boot.

# Commands this script needs, and the Debian packages they are in.
missing_packages() {
  local need
  local needs=(curl:curl openssl:openssl ps:procps tar:tar)
  if [[ -z $WEIGHTS_MANIFEST ]]; then needs+=(aria2c:aria2); fi
  if [[ -n $BUNDLE_MANIFEST ]]; then
    needs+=(zstd:zstd)
  elif [[ ! -x $ENGINES/$ENGINE_ID/bin/llama-server ]]; then
    if [[ -z $BUNDLE_URL ]]; then
      needs+=(git:git cmake:cmake make:make g++:g++ pkg-config:pkg-config)
    elif [[ $BUNDLE_URL == *zst ]]; then
      needs+=(zstd:zstd)
    fi
  fi
  for need in "${needs[@]}"; do
    command -v "${need%%:*}" >/dev/null || printf '%s\n' "${need##*:}"
  done
  if [[ " ${needs[*]} " == *' cmake:cmake '* && ! -e $ROOT/usr/include/openssl/ssl.h ]]; then
    printf '%s\n' libssl-dev
  fi
  # A bundle from the store brings its own.
  if [[ -z $BUNDLE_MANIFEST ]] && ! ldconfig -p | grep -F libgomp.so.1 >/dev/null; then printf '%s\n' libgomp1; fi
}

# Prints `PID (NAME)` of whoever holds a lock of dpkg or apt. Read from the kernel's table, since
# dpkg's kind of lock (fcntl) is not the one that flock(1) can test.
lock_holder() {
  local pid descriptor file
  while read -r pid; do
    for descriptor in "/proc/$pid/fd/"*; do
      file=$(readlink "$descriptor") || continue
      case $file in
        "$ROOT"/var/lib/dpkg/lock | "$ROOT"/var/lib/dpkg/lock-frontend | "$ROOT"/var/lib/apt/lists/lock)
          printf '%s (%s)\n' "$pid" "$(cat "/proc/$pid/comm" 2>/dev/null || echo gone)"
          return
          ;;
      esac
    done
  done < <(awk '$2 != "->" { print $5 }' /proc/locks | sort -un)
}

step_dpkg() {
  local holder deadline
  if [[ -z $(missing_packages) ]]; then
    skip 'no package is missing'
    return
  fi
  deadline=$(($(uptime_s) + DPKG_WAIT_S))
  while holder=$(lock_holder) && [[ -n $holder ]]; do
    if (($(uptime_s) >= deadline)); then
      fail "the package database is still locked by process $holder after $DPKG_WAIT_S s" \
        'cloud-init or unattended-upgrades is at work' \
        "wait for it and run yoyo up again, or use an image in which the packages are installed"
    fi
    progress 0 "waiting for process $holder"
    sleep 2
  done
}

# Step packages: what the other steps call. Without a missing package, apt is not started.

# The lock may be taken again between the look at it and apt: apt waits too. What a package starts
# must not inherit the bootstrap's lock (9): the dead-man would see work for ever.
apt() {
  DEBIAN_FRONTEND=noninteractive apt-get -o "DPkg::Lock::Timeout=$DPKG_WAIT_S" \
    -o Acquire::Retries=3 --yes --quiet "$@" 9>&-
}

step_packages() {
  local missing
  mapfile -t missing < <(missing_packages)
  if [[ -z ${missing[*]} ]]; then
    skip 'all there'
    return
  fi
  if compgen -G "$ROOT/var/lib/dpkg/updates/*" >/dev/null; then
    dpkg --configure -a || true
  fi
  # An image with fresh lists can install at once; an old list is the usual reason why it cannot.
  apt install --no-install-recommends "${missing[@]}" ||
    { apt update && apt install --no-install-recommends "${missing[@]}"; } ||
    fail "apt could not install ${missing[*]}" 'see its last lines' \
      'check that the node reaches its package mirror (Cloud NAT or an external address), or use an image that has them'
  note "installed ${missing[*]}"
}

# Step gpu: is there a GPU whose driver works and which nobody else holds?

# explain_driver OUTPUT: nvidia-smi does not work; the reason is in its text and on the disk.
explain_driver() {
  local kernel
  kernel=$(uname -r)
  case $1 in
    *'version mismatch'*)
      fail "NVIDIA's kernel module and its library are of different versions" \
        'the driver was upgraded while the old module was loaded' \
        "reboot the node; if that does not help use the image $IMAGE_HINT"
      ;;
    *'No devices were found'*)
      fail 'there is no GPU in this machine' 'the driver works but finds none' \
        'use a machine type with a GPU, such as g2-standard-4'
      ;;
  esac
  if command -v dkms >/dev/null && [[ -n $(dkms status nvidia 2>/dev/null) && ! -e $ROOT/lib/modules/$kernel/build ]]; then
    fail "NVIDIA's module is not built for kernel $kernel" 'DKMS has no headers of that kernel' \
      "install linux-headers-$kernel, or use the image $IMAGE_HINT"
  fi
  fail "NVIDIA's driver does not run on kernel $kernel" "nvidia-smi says: ${1:0:120}" \
    "use an image whose driver is built for its kernel: $IMAGE_HINT"
}

# Prints who else computes on the GPU.
other_gpu_user() {
  local pid name
  timeout 60 nvidia-smi --query-compute-apps=pid,process_name --format=csv,noheader 2>/dev/null |
    while IFS=', ' read -r pid name; do
      if [[ $pid =~ ^[0-9]+$ && $(stat -c %U "/proc/$pid" 2>/dev/null) != yoyo-engine ]]; then
        printf '%s (%s)\n' "$pid" "$name"
      fi
    done
}

step_gpu() {
  local found driver other
  if [[ $GPU == no ]]; then
    skip 'a node without GPU'
    return
  fi
  command -v nvidia-smi >/dev/null ||
    fail 'there is no NVIDIA driver' 'nvidia-smi is not installed' "use the image $IMAGE_HINT"
  found=$(timeout 60 nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>&1) ||
    explain_driver "$found"
  driver=$(awk -F ', *' 'NR == 1 { print $2 }' <<<"$found")
  if [[ $(printf '%s\n' "$MIN_DRIVER" "$driver" | sort -V | head -n 1) != "$MIN_DRIVER" ]]; then
    fail "NVIDIA driver $driver is too old" "$MIN_DRIVER or newer is wanted" "use the image $IMAGE_HINT"
  fi
  other=$(other_gpu_user || true)
  if [[ -n $other ]]; then
    fail "another process holds the GPU: ${other//$'\n'/, }" 'the model needs all of its memory' \
      'stop that service and disable it (systemctl disable --now NAME), then run yoyo up again'
  fi
  note "${found%%$'\n'*}"
}

# Fetching files: used by the steps engine and weights. Addresses and tokens go through files
# that root alone can read: the arguments of a process are public.

# https_url URL: gs://BUCKET/NAME as the address to fetch it from.
https_url() {
  case $1 in
    gs://*) printf '%s\n' "$STORAGE/${1#gs://}" ;;
    *) printf '%s\n' "$1" ;;
  esac
}

# host_of URL: what may be shown of it (the rest may be a signed address).
host_of() {
  local rest
  rest=${1#*://}
  printf '%s\n' "${rest%%/*}"
}

# token_in ANSWER: the token in the metadata server's answer; fails where there is none. It goes
# into curl's settings, so nothing else than a token's letters may be in it.
token_in() {
  local token
  token=$(sed -n 's/.*"access_token" *: *"\([^"]*\)".*/\1/p' <<<"$1")
  [[ $token =~ ^[A-Za-z0-9._~+/=-]+$ ]] && printf '%s\n' "$token"
}

# authorization URL: the header that gs:// needs, from the machine's service account.
authorization() {
  local token
  if [[ $1 != gs://* ]]; then return; fi
  token=$(metadata instance/service-accounts/default/token) && token=$(token_in "$token") || return
  printf 'Authorization: Bearer %s\n' "$token"
}

# write_request FILE URL FORMAT: for curl or for aria2.
write_request() {
  local header url
  header=$(authorization "$2") || return
  url=$(https_url "$2")
  (
    umask 077
    if [[ $3 == curl ]]; then
      printf 'url = "%s"\n' "${url//\"/%22}" >"$1"
      if [[ -n $header ]]; then printf 'header = "%s"\n' "$header" >>"$1"; fi
    else
      printf '%s\n' "$url" >"$1"
      if [[ -n $header ]]; then printf '  header=%s\n' "$header" >>"$1"; fi
    fi
  )
}

# Bytes free for root where PATH's directory is.
bytes_free() {
  df --output=avail --block-size=1 "$1" | tail -n 1 | tr -d ' '
}

# Bytes that a file takes on the disk: one that several connections fill has holes.
bytes_on_disk() {
  local blocks
  blocks=$(stat -c %b "$1" 2>/dev/null) || blocks=0
  printf '%s\n' "$((blocks * 512))"
}

gigabytes() { awk -v bytes="$1" 'BEGIN { printf "%.1f GB\n", bytes / 1e9 }'; }

# Is what came from the store still what was checked? Used by the steps, and before each start of
# the engine. A stamp says which bytes were checked: digest, size, times of change, inode. While it
# fits, nothing is read again; where it does not, the chunks are.

CHUNK=${YOYO_CHUNK_BYTES:-67108864} # 64 MiB, as docs/formats/store.md has it; less in tests

# use_set weights|bundle|adapterN: the set that the functions here mean. SET_STATE is beside the set, so
# that no file of a set can have the name of one of ours.
use_set() {
  if [[ $1 == weights ]]; then
    SET_NAME=$WEIGHTS_NAME SET_MANIFEST=$WEIGHTS_MANIFEST SET_DIR=$STATE/models/$WEIGHTS_MANIFEST
    SET_PATHS=("${WEIGHTS_PATHS[@]}") SET_SIZES=("${WEIGHTS_SIZES[@]}") SET_DIGESTS=("${WEIGHTS_DIGESTS[@]}")
  elif [[ $1 == adapter1 ]]; then
    SET_NAME=$ADAPTER1_NAME SET_MANIFEST=$ADAPTER1_MANIFEST SET_DIR=$STATE/adapters/$ADAPTER1_MANIFEST
    SET_PATHS=("${ADAPTER1_PATHS[@]}") SET_SIZES=("${ADAPTER1_SIZES[@]}") SET_DIGESTS=("${ADAPTER1_DIGESTS[@]}")
  elif [[ $1 == adapter2 ]]; then
    SET_NAME=$ADAPTER2_NAME SET_MANIFEST=$ADAPTER2_MANIFEST SET_DIR=$STATE/adapters/$ADAPTER2_MANIFEST
    SET_PATHS=("${ADAPTER2_PATHS[@]}") SET_SIZES=("${ADAPTER2_SIZES[@]}") SET_DIGESTS=("${ADAPTER2_DIGESTS[@]}")
  else
    SET_NAME=$BUNDLE_NAME SET_MANIFEST=$BUNDLE_MANIFEST SET_DIR=$STATE/bundles/$BUNDLE_MANIFEST
    SET_PATHS=("${BUNDLE_PATHS[@]}") SET_SIZES=("${BUNDLE_SIZES[@]}") SET_DIGESTS=("${BUNDLE_DIGESTS[@]}")
  fi
  SET_STATE=$SET_DIR.state
}

# One at a time: the step that fetches, and the engine's start that looks. Not held by whoever
# outlives the step, since it is let go of by word.
lock_set() {
  mkdir -p "$SET_DIR" "$SET_STATE"
  exec 5>"$SET_STATE/lock"
  flock 5
}

unlock_set() {
  flock --unlock 5
  exec 5>&-
}

file_sha256() {
  local digest
  digest=$(openssl dgst -sha256 -r "$1" 2>/dev/null) || return
  printf '%s\n' "${digest%% *}"
}

# stamp_of FILE-NUMBER
stamp_of() {
  local file=$SET_DIR/${SET_PATHS[$1]}
  [[ -f $file && ! -L $file ]] && stat -c "${SET_DIGESTS[$1]} %s %.9Y %.9Z %i" "$file"
}

keep_stamp() { stamp_of "$1" >"$SET_STATE/$1.stamp"; }

stamp_fits() {
  local stamp
  [[ -f $SET_STATE/$1.stamp ]] && stamp=$(stamp_of "$1") && [[ $(<"$SET_STATE/$1.stamp") == "$stamp" ]]
}

# Puts the numbers of the files that no stamp vouches for into DOUBTFUL.
find_doubtful() {
  local number
  DOUBTFUL=()
  for number in "${!SET_PATHS[@]}"; do
    stamp_fits "$number" || DOUBTFUL+=("$number")
  done
}

manifest_is_whole() { [[ $(file_sha256 "$SET_STATE/manifest.json") == "$SET_MANIFEST" ]]; }

# Prints `FILE CHUNK SHA256` for each chunk of the doubtful files; fails where the manifest does
# not have a file of that digest and size. The manifest's digest was checked before.
chunks_of_doubtful() {
  local number
  for number in "${DOUBTFUL[@]}"; do
    printf '%s %s %s\n' "$number" "${SET_SIZES[number]}" "${SET_DIGESTS[number]}"
  done | awk -v chunk="$CHUNK" '
    FNR == NR { wanted[$3] = wanted[$3] " " $1; need[$3] = int(($2 + chunk - 1) / chunk); next }
    /"chunks": \[/ { count = 0; listing = !/\]/; listed = 1; next }
    listing && /\]/ { listing = 0; next }
    listing { split($0, part, "\""); digest[count++] = part[2]; next }
    listed && /"sha256": "/ {
      listed = 0
      split($0, part, "\"")
      if (!(part[4] in wanted) || count != need[part[4]]) next
      files = split(wanted[part[4]], file, " ")
      for (each = 1; each <= files; each++)
        for (at = 0; at < count; at++) print file[each], at, digest[at]
      delete wanted[part[4]]
    }
    END { for (left in wanted) exit 1 }
  ' - "$SET_STATE/manifest.json"
}

# each_chunk WORKERS COMMAND CHUNK...: COMMAND for each, WORKERS at once; after a failure none
# begins. Workers are waited for by their ids: of children that end together `wait -n` loses some.
each_chunk() {
  local claims=$SET_STATE/claims worker workers=() code=0
  rm -rf "$claims"
  mkdir "$claims"
  for ((worker = 0; worker < $1; worker++)); do
    work_off "${@:2}" &
    workers+=("$!")
  done
  for worker in "${workers[@]}"; do wait "$worker" || code=$?; done
  rm -rf "$claims"
  return "$code"
}

# work_off COMMAND CHUNK...: what no other worker has claimed; a claim is a file that only one can
# make. In the background each, since `set -e` does not hold inside a condition.
work_off() {
  local chunk at=0 code=0
  for chunk in "${@:2}"; do
    at=$((at + 1))
    if [[ -e $claims/stop ]]; then return; fi
    set -o noclobber
    { : >"$claims/$at"; } 2>/dev/null || continue
    set +o noclobber
    # shellcheck disable=SC2086  # three words
    "$1" $chunk &
    wait "$!" || code=$?
    if ((code != 0)); then
      : >"$claims/stop"
      return "$code"
    fi
  done
}

# measure_chunk FILE CHUNK: sets LENGTH. (Per chunk few processes are started: on a node of four
# CPUs they would cost as much as the checking.)
measure_chunk() {
  LENGTH=$((SET_SIZES[$1] - $2 * CHUNK))
  if ((LENGTH > CHUNK)); then LENGTH=$CHUNK; fi
}

# chunk_sha256 PATH FILE CHUNK: openssl, since it uses the CPU's instructions for SHA.
chunk_sha256() {
  local digest LENGTH
  measure_chunk "$2" "$3"
  digest=$(dd if="$1" bs=1M iflag=skip_bytes,count_bytes,fullblock skip="$(($3 * CHUNK))" \
    count="$LENGTH" status=none | openssl dgst -sha256 -r)
  printf '%s\n' "${digest%% *}"
}

# Where the bytes of a file are: under its name, or what there is of them.
bytes_of() {
  if [[ -f $SET_DIR/${SET_PATHS[$1]} ]]; then
    printf '%s\n' "$SET_DIR/${SET_PATHS[$1]}"
  else
    printf '%s\n' "$SET_STATE/$1.part"
  fi
}

check_chunk() {
  if [[ $(chunk_sha256 "$(bytes_of "$1")" "$1" "$2") == "$3" ]]; then
    printf '%s %s %s\n' "$1" "$2" "$3" >>"$SET_STATE/intact"
  fi
}

# Leaves those of the given chunks that are what they should be in the file `intact`.
check_chunks() {
  : >"$SET_STATE/intact"
  each_chunk "$(nproc)" check_chunk "$@"
}

# set_is_intact: true when every file is what was checked. One that was merely touched gets a new
# stamp; nothing else is changed.
set_is_intact() {
  local number chunks list DOUBTFUL
  find_doubtful
  if [[ -z ${DOUBTFUL[*]} ]]; then return; fi
  manifest_is_whole || return
  for number in "${DOUBTFUL[@]}"; do
    [[ $(stamp_of "$number") == "${SET_DIGESTS[number]} ${SET_SIZES[number]} "* ]] || return
  done
  chunks=$(chunks_of_doubtful) || return
  printf '%s' "${chunks:+$chunks$'\n'}" >"$SET_STATE/chunks"
  mapfile -t list <"$SET_STATE/chunks"
  check_chunks "${list[@]}" || return
  [[ $(wc -l <"$SET_STATE/intact") == "$(wc -l <"$SET_STATE/chunks")" ]] || return
  for number in "${DOUBTFUL[@]}"; do keep_stamp "$number"; done
}

# The engine from a bundle is many files; beside its directory lie their digests and their stamp.
engine_stamp() {
  (cd "$ENGINES/$ENGINE_ID" && find . ! -type d -printf '%P %y %l %s %T@ %C@ %i\n' | LC_ALL=C sort) 2>/dev/null
}

engine_digests() {
  (
    cd "$ENGINES/$ENGINE_ID" || exit
    find . -type f -print0 | xargs -0 -r -n 8 -P "$(nproc)" openssl dgst -sha256 -r | LC_ALL=C sort -k 2
    find . ! -type f ! -type d -printf '%y %l %p\n' | LC_ALL=C sort
  )
}

engine_is_intact() {
  local record=$ENGINES/$ENGINE_ID.digests stamp=$ENGINES/$ENGINE_ID.stamp
  [[ -x $ENGINES/$ENGINE_ID/bin/llama-server && -s $record ]] || return
  if [[ -s $stamp && $(<"$stamp") == "$(engine_stamp)" ]]; then return; fi
  [[ $(<"$record") == "$(engine_digests)" ]] || return
  engine_stamp >"$stamp"
}

# Fetching a set from the store: its manifest by digest, then its files in chunks, side by side,
# each checked while others still come. What has been fetched survives a kill and a power cut;
# it is checked again before it counts.

WORKERS=$((2 * $(nproc) < 8 ? 2 * $(nproc) : 8))
STALL_S=${YOYO_STALL_S:-20}        # below 64 KiB/s for so long, a connection is given up
RETRY_MS=${YOYO_RETRY_MS:-500}     # doubles with each try
TRIES=8                            # without a MiB of progress: about a minute and a half
PATIENCE_S=120                     # the longest Retry-After that is followed

# A path is safe inside the set's directory. The controller has checked it; this is a second lock.
check_paths() {
  local path
  for path in "${SET_PATHS[@]}"; do
    case /$path/ in
      *//* | */../* | */./* | */-* | *[[:cntrl:]]* | *\\*)
        fail "the set $SET_NAME has a file that is not allowed: ${path:0:80}" 'its path leads out of the set' \
          'stage the set anew; do not use this one'
        ;;
    esac
  done
}

# set_failed WHAT WHY FIX: of several chunks that fail at once the first is told.
set_failed() {
  if (set -o noclobber && : >"$SET_STATE/failed") 2>/dev/null; then fail "$@"; fi
  printf 'failed too: %s (%s)\n' "$1" "$2" >&2
  exit 1
}

# use_kept_token FILE REFUSED
use_kept_token() {
  local until up
  TOKEN=''
  [[ -s $1 ]] && read -r until TOKEN <"$1" && read -r up _ <"$ROOT/proc/uptime" || return
  [[ -n $TOKEN && $TOKEN != "$2" ]] && ((until > ${up%%.*}))
}

# store_token [REFUSED]: TOKEN is one of the machine's that is not REFUSED. Kept for all chunks until
# a minute before its end, under the clock that nobody sets.
store_token() {
  local kept=$RUN/store.token answer life
  if use_kept_token "$kept" "${1:-}"; then return; fi
  exec 4>"$RUN/store.token.lock"
  flock 4
  # Another chunk may have fetched it meanwhile.
  if ! use_kept_token "$kept" "${1:-}"; then
    answer=$(metadata instance/service-accounts/default/token) || answer=''
    TOKEN=$(token_in "$answer") ||
      set_failed 'no token for the store' "the machine's service account gave none" \
        'set gce.service_account to one that may read the bucket (scope devstorage.read_only)'
    life=$(sed -n 's/.*"expires_in" *: *\([0-9]*\).*/\1/p' <<<"$answer")
    (umask 077 && printf '%s %s\n' "$(($(uptime_s) + ${life:-60} - 60))" "$TOKEN" >"$kept.part")
    mv -f "$kept.part" "$kept"
  fi
  exec 4>&-
}

# store_request KEY: curl's settings that nobody else may read.
store_request() {
  local url
  url=$(https_url "$STORE/$1")
  printf 'url = "%s"\nheader = "Authorization: Bearer %s"\n' "${url//\"/%22}" "$TOKEN"
}

# ask KEY [CURL OPTION...]: one request; the body goes to descriptor 3. Sets what came of it: STATUS
# (curl's), CODE, and of the answer's range FIRST and TOTAL; AFTER is its Retry-After.
ask() {
  local headers=$RUN/$STEP.headers.$BASHPID line
  STATUS=0 CODE=0 FIRST='-' TOTAL='-' AFTER='-'
  store_token "$REFUSED"
  : >"$headers"
  # HTTP/1.1: a connection a chunk, and less work for the CPU than HTTP/2 makes.
  curl --disable --silent --show-error --fail --globoff --http1.1 --connect-timeout 10 \
    --speed-limit 65536 --speed-time "$STALL_S" --dump-header "$headers" "${@:2}" \
    --config <(store_request "$1") >&3 || STATUS=$?
  while read -r line; do
    line=${line%$'\r'}
    case ${line,,} in
      http/*)
        line=${line#* }
        CODE=${line%% *} FIRST='-' TOTAL='-' AFTER='-'
        ;;
      content-range:*)
        line=${line##*[ :]}
        FIRST=${line%%-*} TOTAL=${line##*/}
        ;;
      retry-after:*)
        line=${line##*[ :]}
        if [[ $line =~ ^[1-9][0-9]{0,5}$ ]]; then AFTER=$line; fi
        ;;
    esac
  done <"$headers"
}

what_curl_says() {
  case $1 in
    5 | 6) echo 'its name cannot be resolved' ;;
    7) echo 'no connection' ;;
    18 | 52 | 55 | 56 | 0) echo 'the connection was cut off' ;;
    28) echo "nothing came for $STALL_S s" ;;
    35 | 60) echo 'TLS failed' ;;
    *) echo "curl ended with $1" ;;
  esac
}

# after_refusal KEY: the answer was not the bytes. Returns where another try may help.
after_refusal() {
  local host object=${1##*/}
  host=$(host_of "$(https_url "$STORE")")
  case $CODE in
    401)
      REFUSED=$TOKEN
      REFUSALS=$((REFUSALS + 1))
      if ((REFUSALS > 2)); then
        set_failed "$host refuses the machine's token (401)" 'a new one was refused too' \
          'check that the service account is not disabled'
      fi
      ;;
    403)
      set_failed "$host refuses ${object:0:12} (403)" "the machine's service account may not read $STORE" \
        'grant it roles/storage.objectViewer on the bucket, and the scope devstorage.read_only'
      ;;
    404 | 410)
      set_failed "${object:0:12} of $SET_NAME is not in the store ($CODE)" "it was removed from $STORE, or store names another place" \
        'run yoyo weights verify, or stage it again'
      ;;
    0 | 2?? | 408 | 429 | 5??) ;;
    *) set_failed "$host answers $CODE" "it was asked for ${object:0:12} of $SET_NAME" 'check store in yoyo.yaml' ;;
  esac
}

# try_again: waits before the next try; TRIED counts those without progress.
try_again() {
  local ms=$((RETRY_MS << (TRIED < 6 ? TRIED : 6))) why
  TRIED=$((TRIED + 1))
  if [[ -e $SET_STATE/failed ]]; then exit 1; fi
  why=$(what_curl_says "$STATUS")
  case $CODE in
    429) why='too many requests (429)' ;;
    408 | 5??) why="it answers $CODE" ;;
  esac
  if ((TRIED >= TRIES)); then
    set_failed "$(host_of "$(https_url "$STORE")") does not give ${SET_NAME}" "$why, $TRIED times in a row" \
      'run yoyo up again: what was fetched is kept'
  fi
  if [[ $AFTER != - ]]; then ms=$((1000 * (AFTER < PATIENCE_S ? AFTER : PATIENCE_S))); fi
  # Not all at once again.
  ms=$((ms + RANDOM % (ms / 4 + 1)))
  echo "again in $ms ms: $why"
  sleep "$((ms / 1000)).$(printf '%03d' $((ms % 1000)))" 9>&-
}

# seek_in FILE BYTE: opens FILE as descriptor 3, and a command that only seeks puts it there: dd counts
# from where a descriptor stands. The curl that comes next shares it, with no pipe between.
seek_in() {
  exec 3<>"$1"
  dd oflag=seek_bytes conv=notrunc seek="$2" count=0 status=none >&3 </dev/null
}

# Sets POSITION to where descriptor 3 stands.
find_position() {
  local name value
  while read -r name value; do
    if [[ $name == pos: ]]; then POSITION=$value; fi
  done <"/proc/$BASHPID/fdinfo/3"
}

# receive KEY START LENGTH SIZE PART: bytes of an object of that size to the same place of PART.
receive() {
  local at=$2 end=$(($2 + $3)) before POSITION TRIED=0 REFUSED='' REFUSALS=0
  while ((at < end)); do
    before=$at
    seek_in "$5" "$at"
    ask "$1" --range "$at-$((end - 1))"
    if [[ $CODE == 206 && ($FIRST != "$at" || $TOTAL != "$4") ]]; then
      set_failed "${1##*/} has another size in the store" "it has $TOTAL bytes; the manifest says $4" \
        'it was cut off or replaced there: run yoyo weights verify --deep, or stage it again'
    elif [[ $CODE == 416 ]]; then
      set_failed "${1##*/} is shorter in the store than its manifest says" "byte $at of $4 is not there" \
        'it was cut off there: run yoyo weights verify --deep, or stage it again'
    elif [[ $CODE == 200 && ($at != 0 || $3 != "$4") ]]; then
      set_failed "$(host_of "$(https_url "$STORE")") ignores ranges" 'it answers 200 with the whole object' \
        'check store and its endpoint: something in between may not be Cloud Storage'
    elif [[ $CODE == 206 || $CODE == 200 ]]; then
      find_position
      at=$POSITION
      if ((STATUS == 23 && at < end)); then
        set_failed "the disk ran full while $SET_NAME was fetched" 'something else filled it' 'set a larger gce.disk_gb'
      fi
      if ((at >= end)); then break; fi
    else
      after_refusal "$1"
    fi
    if ((at - before >= 1048576)); then TRIED=0; fi
    try_again
  done
}

# remedy_of OBJECT: what to do about a damaged one. Nobody stages adapters: a start stores what is
# missing.
remedy_of() {
  if [[ $SET_DIR == "$STATE"/adapters/* ]]; then
    echo "remove $1 from $STORE: the next yoyo up stores it again"
  else
    echo 'run yoyo weights verify --deep, and stage it again'
  fi
}

# fetch_chunk FILE CHUNK SHA256
fetch_chunk() {
  local part=$SET_STATE/$1.part LENGTH got wrong
  measure_chunk "$1" "$2"
  # A server that sends more than it was asked for cannot write over the next chunk.
  trap '' XFSZ
  ulimit -f "$((($2 * CHUNK + LENGTH + 1023) / 1024))"
  for wrong in 1 2 3; do
    receive "artefacts/sha256/${SET_DIGESTS[$1]:0:2}/${SET_DIGESTS[$1]}" "$(($2 * CHUNK))" "$LENGTH" "${SET_SIZES[$1]}" "$part"
    got=$(chunk_sha256 "$part" "$1" "$2")
    if [[ $got == "$3" ]]; then
      printf '%s %s\n' "$2" "$3" >>"$SET_STATE/$1.done"
      rm -f "$RUN/$STEP.headers.$BASHPID"
      return
    fi
    echo "chunk $2 of ${SET_PATHS[$1]} came with sha256 $got instead of $3 ($wrong)"
  done
  set_failed "chunk $2 of ${SET_PATHS[$1]} in $SET_NAME is damaged" "its sha256 is $got, the manifest says $3" \
    "$(remedy_of "artefacts/sha256/${SET_DIGESTS[$1]:0:2}/${SET_DIGESTS[$1]}")"
}

fetch_manifest() {
  local part=$SET_STATE/manifest.json.part key=manifests/sha256/$SET_MANIFEST.json got TRIED=0 REFUSED='' REFUSALS=0
  if manifest_is_whole; then return; fi
  while :; do
    exec 3>"$part"
    ask "$key" --max-filesize 67108864
    exec 3>&-
    if [[ $CODE == 200 && $STATUS == 0 ]]; then break; fi
    after_refusal "$key"
    try_again
  done
  got=$(file_sha256 "$part")
  if [[ $got != "$SET_MANIFEST" ]]; then
    rm -f "$part"
    set_failed "the manifest of $SET_NAME was changed in the store" "its sha256 is $got, this node was made for $SET_MANIFEST" \
      'nothing of it is used: find out who wrote it, then stage the set again'
  fi
  mv -f "$part" "$SET_STATE/manifest.json"
  rm -f "$RUN/$STEP.headers.$BASHPID"
}

# Prints the chunks of a doubtful file that are worth a look: all of a file that is in its place,
# else those that an earlier run says it had fetched.
worth_a_look() {
  local number=$1 file=$SET_DIR/${SET_PATHS[$1]}
  if [[ -f $file ]]; then
    awk -v file="$number" '$1 == file' "$SET_STATE/chunks"
  elif [[ -s $SET_STATE/$number.done && -s $SET_STATE/$number.part ]]; then
    awk -v file="$number" 'done { fetched[$1] = $2; next } $1 == file && fetched[$2] == $3' \
      done=1 "$SET_STATE/$number.done" done=0 "$SET_STATE/chunks"
  fi
}

# clear_the_way FILE: at its name stands a regular file of the right size, or nothing.
clear_the_way() {
  local file=$SET_DIR/${SET_PATHS[$1]}
  mkdir -p "$(dirname "$file")"
  if [[ -L $file || (-e $file && ! -f $file) ]]; then rm -rf "$file"; fi
  if [[ -f $file && $(stat -c %s "$file") != "${SET_SIZES[$1]}" ]]; then
    mv -f "$file" "$SET_STATE/$1.part"
    awk -v file="$1" '$1 == file { print $2, $3 }' "$SET_STATE/chunks" >"$SET_STATE/$1.done"
  fi
}

# Sets MISSING to the chunks that have to be fetched, and UNFINISHED to their files.
plan_fetch() {
  local number look=()
  chunks_of_doubtful >"$SET_STATE/chunks" ||
    set_failed "the manifest of $SET_NAME does not have the files that this node was made for" \
      'a file is not in it, or has another size' 'run yoyo up again; if that does not help stage the set again'
  for number in "${DOUBTFUL[@]}"; do clear_the_way "$number"; done
  mapfile -t look < <(for number in "${DOUBTFUL[@]}"; do worth_a_look "$number"; done)
  if [[ -n ${look[*]} ]]; then progress 0 'checking what is there'; fi
  check_chunks "${look[@]}"
  mapfile -t MISSING < <(awk 'old { intact[$0]; next } !($0 in intact)' \
    old=1 "$SET_STATE/intact" old=0 "$SET_STATE/chunks")
  UNFINISHED=()
  for number in "${DOUBTFUL[@]}"; do
    if [[ -f $SET_DIR/${SET_PATHS[number]} ]] && ! printf '%s\n' "${MISSING[@]}" | grep -q "^$number "; then
      keep_stamp "$number"
      continue
    fi
    UNFINISHED+=("$number")
    if [[ -f $SET_DIR/${SET_PATHS[number]} ]]; then mv -f "$SET_DIR/${SET_PATHS[number]}" "$SET_STATE/$number.part"; fi
    awk -v file="$number" '$1 == file { print $2, $3 }' "$SET_STATE/intact" >"$SET_STATE/$number.done"
  done
}

check_set_room() {
  local number need=$ROOM free
  for number in "${UNFINISHED[@]}"; do
    need=$((need + SET_SIZES[number] - $(bytes_on_disk "$SET_STATE/$number.part")))
  done
  free=$(bytes_free "$SET_DIR")
  if ((need > free)); then
    set_failed "the disk is too small for $SET_NAME: $(gigabytes "$need") more are needed, $(gigabytes "$free") are free" \
      "its files are $(gigabytes "$(set_bytes)")" 'set a larger gce.disk_gb, or remove old sets from /var/lib/yoyo/models'
  fi
}

set_bytes() {
  local size sum=0
  for size in "${SET_SIZES[@]}"; do sum=$((sum + size)); done
  printf '%s\n' "$sum"
}

report_set() {
  local number got=$1
  for number in "${UNFINISHED[@]}"; do got=$((got + $(bytes_on_disk "$SET_STATE/$number.part"))); done
  progress "$(percent_of "$got" "$2")" \
    "$(gigabytes "$got") of $(gigabytes "$2") from the store, $(((got > FETCHED ? got - FETCHED : 0) / 2000000)) MB/s"
  FETCHED=$got
}

fetch_missing() {
  local number fetching finished total FETCHED=0
  total=$(set_bytes)
  finished=$total
  for number in "${UNFINISHED[@]}"; do
    finished=$((finished - SET_SIZES[number]))
    truncate --size "${SET_SIZES[number]}" "$SET_STATE/$number.part"
  done
  each_chunk "$WORKERS" fetch_chunk "${MISSING[@]}" &
  fetching=$!
  reporting_while "$fetching" 2 report_set "$finished" "$total"
  wait "$fetching"
}

# Only what is on the disk gets its name, and only then its stamp.
finish_files() {
  local number file
  for number in "${UNFINISHED[@]}"; do
    file=$SET_DIR/${SET_PATHS[number]}
    truncate --size "${SET_SIZES[number]}" "$SET_STATE/$number.part"
    sync "$SET_STATE/$number.part"
    mv -fT "$SET_STATE/$number.part" "$file"
    chmod 0644 "$file"
    keep_stamp "$number"
    rm -f "$SET_STATE/$number.done"
  done
  rm -f "$SET_STATE/chunks" "$SET_STATE/intact"
}

# fetch_set: when it returns, every file of the set is in its place and is what the manifest says.
# CAME=yes when something had to be fetched.
fetch_set() {
  local DOUBTFUL MISSING UNFINISHED=()
  check_paths
  lock_set
  CAME=no
  rm -f "$SET_STATE/failed"
  find_doubtful
  if [[ -n ${DOUBTFUL[*]} ]]; then
    fetch_manifest
    plan_fetch
    check_set_room
    fetch_missing
    finish_files
    if [[ -n ${UNFINISHED[*]} ]]; then CAME=yes; fi
  fi
  unlock_set
}

# Step engine: llama-server of the wanted commit, from a bundle or built here. An engine
# directory appears under its final name only when it is whole.

LLAMA_SOURCE=$STATE/src/llama.cpp

use_engine() {
  if [[ $(readlink "$ENGINES/current" || true) == "$ENGINE_ID" ]]; then return; fi
  ln -sfn "$ENGINE_ID" "$ENGINES/current.part"
  mv -fT "$ENGINES/current.part" "$ENGINES/current"
  : >"$RUN/engine-changed"
}

# install_engine DIRECTORY: takes a directory with bin/llama-server in it.
install_engine() {
  local lost
  [[ -x $1/bin/llama-server ]] ||
    fail 'the engine has no bin/llama-server' 'the bundle is laid out otherwise' 'make the bundle anew'
  # Of a glibc that is too old, ldd says: version `GLIBC_2.38' not found.
  lost=$(LD_LIBRARY_PATH="$1/lib:$1/bin" ldd "$1/bin/llama-server" 2>&1 |
    awk '/version .* not found/ { print $4; next } /not found/ { print $1 }' | sort -u || true)
  # The GPU driver's own library is no business of the bundle: step gpu looks after the driver.
  lost=$(grep -v '^libcuda\.so' <<<"$lost" || true)
  if [[ -n $lost ]]; then
    fail "the engine lacks libraries: ${lost//$'\n'/ }" 'neither the bundle nor this image has them' \
      "make the bundle with them inside, or use the image $IMAGE_HINT"
  fi
  sync -f "$1"
  rm -rf "${ENGINES:?}/$ENGINE_ID"
  mv -T "$1" "$ENGINES/$ENGINE_ID"
}

fetch_bundle() {
  local part=$STATE/bundle-$ENGINE_ID.part request=$RUN/bundle.request unpacked=$ENGINES/.unpacking
  write_request "$request" "$BUNDLE_URL" curl ||
    fail 'no token for the engine bundle' "the machine's service account gave none" \
      'give the machine a service account that may read the bucket (scope devstorage.read_only)'
  # A part that is already whole makes the server refuse the rest (416): the checksum decides.
  curl --fail --silent --show-error --location --retry 5 --connect-timeout 20 --speed-limit 1000 \
    --speed-time 60 --continue-at - --output "$part" --config "$request" ||
    [[ $(sha256_of "$part") == "$BUNDLE_SHA256" ]] || {
    rm -f "$request"
    fail "the engine bundle cannot be fetched from $(host_of "$BUNDLE_URL")" "see curl's last line" \
      'check bundle.url, and that the node reaches it'
  }
  rm -f "$request"
  if [[ $(sha256_of "$part") != "$BUNDLE_SHA256" ]]; then
    rm -f "$part"
    fail 'the engine bundle has another sha256 than configured' 'it was replaced or damaged' \
      'check bundle.url and bundle.sha256'
  fi
  rm -rf "$unpacked"
  mkdir -p "$unpacked"
  tar --extract --no-same-owner --no-same-permissions --file "$part" --directory "$unpacked" ||
    fail 'the engine bundle cannot be unpacked' 'see the last lines of the log' 'make the bundle anew'
  install_engine "$unpacked"
  rm -f "$part"
}

# bundle_from_store: its chunks were checked as they came; unpacked, its files get a list of digests.
bundle_from_store() {
  local unpacked=$ENGINES/.unpacking
  use_set bundle
  fetch_set
  rm -rf "$unpacked"
  mkdir -p "$unpacked"
  tar --extract --zstd --no-same-owner --no-same-permissions --file "$SET_DIR/${SET_PATHS[0]}" --directory "$unpacked" ||
    fail 'the engine bundle cannot be unpacked' 'see the last lines of the log' \
      'run yoyo engine verify, or publish the bundle anew'
  rm -f "$ENGINES/$ENGINE_ID.digests" "$ENGINES/$ENGINE_ID.stamp"
  install_engine "$unpacked"
  engine_digests >"$ENGINES/$ENGINE_ID.digests.part"
  sync "$ENGINES/$ENGINE_ID.digests.part"
  mv -f "$ENGINES/$ENGINE_ID.digests.part" "$ENGINES/$ENGINE_ID.digests"
  engine_stamp >"$ENGINES/$ENGINE_ID.stamp"
  rm -rf "${SET_DIR:?}" "${SET_STATE:?}"
  : >"$RUN/engine-changed"
}

engine_is_there() {
  if [[ -n $BUNDLE_MANIFEST ]]; then engine_is_intact; else [[ -x $ENGINES/$ENGINE_ID/bin/llama-server ]]; fi
}

# What the engine is called in reports.
engine_title() {
  if [[ -n $BUNDLE_MANIFEST ]]; then printf '%s' "$BUNDLE_NAME"; else printf '%s' "llama.cpp ${ENGINE_COMMIT:0:12}"; fi
}

sha256_of() { sha256sum "$1" 2>/dev/null | cut -d ' ' -f 1; }

fetch_source() {
  mkdir -p "$LLAMA_SOURCE"
  cd "$LLAMA_SOURCE"
  git init --quiet
  if [[ $(git rev-parse --quiet --verify HEAD || true) != "$ENGINE_COMMIT" ]]; then
    git fetch --quiet --depth 1 "$ENGINE_REPO" "$ENGINE_COMMIT" ||
      fail "llama.cpp's commit ${ENGINE_COMMIT:0:12} cannot be fetched from $(host_of "$ENGINE_REPO")" \
        'no such commit there, or no way out of the network' 'check build.commit and build.repository'
    git checkout --quiet --force FETCH_HEAD
  fi
  : >"$RUN/engine-source"
}

# report_build LOG: make says `[ 42%]` as it goes.
report_build() {
  local percent
  percent=$(grep -oE '^\[ *[0-9]+%\]' "$1" | tail -n 1 | tr -dc '0-9' || true)
  progress "${percent:-0}" "building llama.cpp ${ENGINE_COMMIT:0:12} with $BUILD_JOBS jobs"
}

# explain_build LOG: ends the step with the reason.
explain_build() {
  local fix='use a bundle (bundle.url), or a machine with more memory'
  if grep -E 'Killed.*(cc1plus|cicc|ptxas|cudafe)|(cc1plus|cicc|ptxas|cudafe).*Killed|[Ss]ignal 9' "$1" >/dev/null; then
    fail 'the compiler was killed while it built the engine' "out of memory with $BUILD_JOBS jobs" "$fix"
  fi
  fail 'the engine could not be built' "$(grep -iE 'error' "$1" | head -n 1 | cut -c 1-150)" \
    'see the log; another build.commit or a bundle (bundle.url) helps'
}

build_engine() {
  local log=$LOGS/engine-build.log built=$ENGINES/.built building
  local options=(-DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DLLAMA_OPENSSL=ON
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=ON)
  PATH=$PATH:/usr/local/cuda/bin
  if [[ $GPU == yes ]]; then
    command -v nvcc >/dev/null ||
      fail 'there is no CUDA compiler' 'nvcc is neither in PATH nor in /usr/local/cuda/bin' \
        "use a bundle (bundle.url) or an image with CUDA: $IMAGE_HINT"
    options+=(-DGGML_CUDA=ON "-DCMAKE_CUDA_ARCHITECTURES=$CUDA_ARCH")
  fi
  fetch_source
  { cmake -S . -B build "${options[@]}" &&
    cmake --build build --config Release --target llama-server -j "$BUILD_JOBS"; } >"$log" 2>&1 &
  building=$!
  reporting_while "$building" 5 report_build "$log"
  if ! wait "$building"; then
    tail -n 15 "$log"
    explain_build "$log"
  fi
  rm -rf "$built"
  mkdir -p "$built/bin"
  cp build/bin/llama-server "$built/bin/"
  install_engine "$built"
  rm -rf build
}

step_engine() {
  mkdir -p "$ENGINES"
  rm -f "$RUN/engine-source"
  if engine_is_there; then
    skip "$(engine_title) is there"
  elif [[ -n $BUNDLE_MANIFEST ]]; then
    bundle_from_store
    note "$(engine_title) from the store"
  elif [[ -n $BUNDLE_URL ]]; then
    fetch_bundle
    note "llama.cpp ${ENGINE_COMMIT:0:12} from its bundle"
  else
    build_engine
    note "llama.cpp ${ENGINE_COMMIT:0:12} built here"
  fi
  use_engine
}

# Step weights: the model, under its sha256. Everything that can be known beforehand (is it there,
# does it fit on the disk, does the engine know it) is asked before the long fetch.

PART=$MODEL.part
ROOM=$((256 * 1024 * 1024)) # for logs and the rest of the system
HEADER_BYTES=65536

weights_are_there() {
  [[ -f $MODEL && -f $MODEL.sha256 && $(<"$MODEL.sha256") == "$WEIGHTS_SHA256 $(stat -c %s "$MODEL")" ]]
}

# probe URL: fetches the first bytes; prints the size of the whole file (0: unknown). One request
# that also works where a signed address does not allow HEAD.
probe() {
  local request=$RUN/weights.request status=0 code
  rm -f "$RUN/weights.headers"
  write_request "$request" "$1" curl || { echo 'no token from the service account' >&2; return 1; }
  # head closes the pipe on a server that ignores the range and sends everything: that is fine.
  curl --silent --location --max-time 60 --range "0-$((HEADER_BYTES - 1))" --dump-header "$RUN/weights.headers" \
    --config "$request" 2>/dev/null | head -c "$HEADER_BYTES" >"$RUN/weights.header" || status=$?
  rm -f "$request"
  code=$(awk 'toupper($1) ~ /^HTTP/ { code = $2 } END { print code }' "$RUN/weights.headers" 2>/dev/null || true)
  case $code in
    200 | 206) ;;
    401 | 403) echo "refused ($code)" >&2; return 1 ;;
    404 | 410) echo "not there ($code): moved or renamed" >&2; return 1 ;;
    '') echo "no answer (curl $status)" >&2; return 1 ;;
    *) echo "answered $code" >&2; return 1 ;;
  esac
  awk -v fallback="$WEIGHTS_BYTES" '
    toupper($1) ~ /^HTTP/ { code = $2; total = size = 0 }
    { gsub(/\r/, "") }
    tolower($1) == "content-range:" { sub(/.*\//, ""); total = $0 }
    tolower($1) == "content-length:" { size = $2 }
    END { printf "%.0f\n", total ? total : (code == 200 && size ? size : fallback) }
  ' "$RUN/weights.headers"
}

# architecture_of FILE: general.architecture of a GGUF header; nothing when it is not in FILE.
architecture_of() {
  local key=general.architecture at kind length
  at=$(grep -abo -m 1 -F "$key" "$1" | head -n 1 | cut -d : -f 1) || return 0
  at=$((at + 20))
  kind=$(od -An -t u4 -j "$at" -N 4 "$1" | tr -d ' ')
  length=$(od -An -t u8 -j "$((at + 4))" -N 8 "$1" | tr -d ' ')
  if [[ $kind == 8 && $length =~ ^[0-9]{1,2}$ ]]; then
    tail -c "+$((at + 13))" "$1" | head -c "$length" || true
  fi
}

# engine_knows ARCHITECTURE. Its names are zero-terminated strings in the engine; a linker may
# keep one as the end of a longer one (bert in nomic-bert), so the end is what is compared.
engine_knows() {
  local name=${1//./\\.}
  if [[ -x $ENGINES/$ENGINE_ID/bin/llama-server ]]; then
    grep -rzaqE -- "$name\$" "$ENGINES/$ENGINE_ID"
  else
    grep -rqF -- "\"$1\"" "$LLAMA_SOURCE/src"
  fi
}

# The engine or its source comes soon; the check is worth the wait, since it can spare an hour.
wait_for_engine() {
  until [[ -x $ENGINES/$ENGINE_ID/bin/llama-server || -f $RUN/engine-source ]]; do
    if [[ -f $RUN/engine.ended ]]; then return 1; fi
    sleep 0.2
  done
}

check_architecture() {
  local architecture
  architecture=$(architecture_of "$RUN/weights.header")
  if [[ ! $architecture =~ ^[A-Za-z0-9._-]+$ ]]; then return; fi
  if wait_for_engine && ! engine_knows "$architecture"; then
    fail "the engine does not know the model's architecture $architecture" \
      "llama.cpp ${ENGINE_COMMIT:0:12} is older than the model" 'set a newer build.commit, or another model'
  fi
}

check_room() {
  local need free
  need=$(($1 - $(bytes_on_disk "$PART") + ROOM))
  free=$(bytes_free "$STATE/models")
  if ((need > free)); then
    fail "the disk is too small for the weights: $(gigabytes "$need") more are needed, $(gigabytes "$free") are free" \
      "the weights are $(gigabytes "$1")" 'set a larger gce.disk_gb, or remove old models from /var/lib/yoyo/models'
  fi
}

# report_fetch BYTES HOST
report_fetch() {
  local got
  got=$(bytes_on_disk "$PART")
  progress "$(percent_of "$got" "$1")" \
    "$(gigabytes "$got") of $(gigabytes "$1") from $2, $(((got - FETCHED) / 2000000)) MB/s"
  FETCHED=$got
}

# fetch URL BYTES: into the part file; a fetch that was cut off goes on where it was.
fetch() {
  local request=$RUN/weights.request fetching code=0 FETCHED=0
  write_request "$request" "$1" aria2 || return 1
  printf '  dir=%s\n  out=%s\n' "$(dirname "$PART")" "$(basename "$PART")" >>"$request"
  # Without --auto-file-renaming=false a second run writes beside the part. --always-resume=false:
  # where a server cannot resume, start over instead of giving up.
  aria2c --no-conf --input-file "$request" -x4 -s4 -c --min-split-size=1M --file-allocation=none \
    --auto-file-renaming=false --allow-overwrite=true --always-resume=false --max-tries=8 \
    --retry-wait=2 --connect-timeout=20 --timeout=30 --auto-save-interval=5 --summary-interval=0 \
    --console-log-level=warn --show-console-readout=false --download-result=hide &
  fetching=$!
  reporting_while "$fetching" 2 report_fetch "$2" "$(host_of "$1")"
  wait "$fetching" || code=$?
  rm -f "$request"
  if ((code == 9)); then
    fail 'the disk ran full while the weights were fetched' 'something else filled it' 'set a larger gce.disk_gb'
  fi
  return "$code"
}

# Below 100 until it is checked and renamed.
percent_of() {
  if (($2 <= 0)); then echo 0; return; fi
  echo "$(($1 * 100 / $2 < 99 ? $1 * 100 / $2 : 99))"
}

# try_mirror URL: true when the weights are in place; else says on stderr what was wrong.
try_mirror() {
  local bytes got code=0
  bytes=$(probe "$1") || return 1
  if [[ $(head -c 4 "$RUN/weights.header" | tr -d '\0') != GGUF ]]; then
    echo 'what is there is no GGUF file' >&2
    return 1
  fi
  check_room "$bytes"
  check_architecture
  fetch "$1" "$bytes" || code=$?
  if ((code != 0)); then
    echo "cut off (aria2 $code)" >&2
    return 1
  fi
  progress 99 'checking the sha256'
  got=$(sha256sum "$PART" | cut -d ' ' -f 1)
  if [[ $got != "$WEIGHTS_SHA256" ]]; then
    # Left there, it would be taken for whole by the next fetch.
    rm -f "$PART" "$PART.aria2"
    echo "wrong sha256 ${got:0:12}" >&2
    return 1
  fi
  sync "$PART"
  mv -f "$PART" "$MODEL"
  printf '%s %s\n' "$WEIGHTS_SHA256" "$(stat -c %s "$MODEL")" >"$MODEL.sha256"
  rm -f "$PART.aria2"
  : >"$RUN/engine-changed"
}

weights_from_store() {
  use_set weights
  fetch_set
  if [[ $CAME == no ]]; then
    skip "$WEIGHTS_NAME, $(gigabytes "$(set_bytes)"), checked before"
    return
  fi
  : >"$RUN/engine-changed"
  note "$WEIGHTS_NAME, $(gigabytes "$(set_bytes)") from the store"
}

step_weights() {
  mkdir -p "$STATE/models"
  if [[ -n $WEIGHTS_MANIFEST ]]; then weights_from_store; else weights_from_mirrors; fi
  adapters_from_store
}

# After the weights: beside them adapters are small. What was said of the weights stays said.
adapters_from_store() {
  local set fetched='' there=''
  for set in adapter1 adapter2; do
    use_set "$set"
    fetch_set
    if [[ $CAME == yes ]]; then fetched+=" $SET_NAME"; else there+=" $SET_NAME"; fi
  done
  note "$(<"$RUN/$STEP.message")${fetched:+; adapters from the store:$fetched}${there:+; adapters checked before:$there}"
  if [[ -n $fetched ]]; then
    rm -f "$RUN/$STEP.skipped"
    : >"$RUN/engine-changed"
  fi
}

weights_from_mirrors() {
  local url round reasons
  if weights_are_there; then
    skip "$(gigabytes "$(stat -c %s "$MODEL")"), checked before"
    return
  fi
  rm -f "$MODEL.sha256"
  # A second round asks for new tokens and follows renewed redirects.
  for round in 1 2; do
    reasons=''
    for url in "${WEIGHTS_URLS[@]}"; do
      attempt "$url"
      if ((ATTEMPT == 0)); then
        note "$(gigabytes "$(stat -c %s "$MODEL")") from $(host_of "$url")"
        return
      fi
      reasons+="$(host_of "$url"): $(tail -n 1 "$RUN/mirror.reason"); "
    done
    echo "round $round: $reasons"
  done
  fail "no mirror gave the weights ${WEIGHTS_SHA256:0:12}" "${reasons%; }" \
    'check engine.model, weights.mirrors and weights.sha256; run yoyo up again: what was fetched is kept'
}

# attempt URL: try_mirror in a process of its own; its status goes to ATTEMPT, since `set -e`
# would not hold where it is called inside a condition. What fails the step there fails it here.
attempt() {
  ATTEMPT=0
  rm -f "$RUN/$STEP.message"
  try_mirror "$1" 2>"$RUN/mirror.reason" &
  wait "$!" || ATTEMPT=$?
  cat "$RUN/mirror.reason"
  if [[ $ATTEMPT != 0 && -s $RUN/$STEP.message ]]; then exit 1; fi
}

# Step key: the controller seals the engine's key for this disk once it knows the seal key.

install_key_scripts() {
  install_file "$LIB/fetch-key" 0755 <<'YOYO_FILE'
#!/usr/bin/env bash
# fetch-key SECONDS: opens the sealed key in the metadata and keeps it for the engine; waits up
# to SECONDS for one that can be opened (0: looks once). Fails when there is none.
set -euo pipefail
# shellcheck source=/dev/null
. "${YOYO_ROOT:-}/usr/local/lib/yoyo/lib.sh"

# Prints the key. The label ties it to this life: a key of another life does not open.
open_key() {
  local request label
  request=$(metadata instance/attributes/yoyo-request)
  label=$(printf '%s' "$request" | od -An -v -t x1 | tr -d ' \n')
  metadata instance/attributes/yoyo-key | base64 --decode 2>/dev/null |
    openssl pkeyutl -decrypt -inkey "$ETC/seal.pem" -pkeyopt rsa_padding_mode:oaep \
      -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha256 \
      -pkeyopt "rsa_oaep_label:$label" 2>/dev/null
}

keep_key() {
  local part=$ETC/engine.key.part
  if [[ -f $ETC/engine.key && $(<"$ETC/engine.key") == "$1" ]]; then return; fi
  (umask 077 && printf '%s\n' "$1" >"$part")
  chown root:yoyo-engine "$part"
  chmod 0640 "$part"
  sync "$part"
  mv -f "$part" "$ETC/engine.key"
}

mkdir -p "$RUN"
# The engine's start, the watcher and the startup script may come at once.
exec 8>"$RUN/key.lock"
deadline=$(($(uptime_s) + $1))
while :; do
  wait_for_attributes 10
  flock 8
  key=$(open_key) || key=''
  if [[ $key =~ ^[A-Za-z0-9._~+/=-]{16,256}$ ]]; then break; fi
  flock --unlock 8
  if (($(uptime_s) >= deadline)); then exit 1; fi
done
keep_key "$key"
YOYO_FILE
  install_file "$LIB/watch-key" 0755 <<'YOYO_FILE'
#!/usr/bin/env bash
# Waits for a new key in the metadata and restarts the engine with it.
set -euo pipefail
# shellcheck source=/dev/null
. "${YOYO_ROOT:-}/usr/local/lib/yoyo/lib.sh"

while :; do
  wait_for_attributes 300
  "$LIB/fetch-key" 0 || continue
  # An engine that is still starting takes the new key by itself.
  if [[ -f $RUN/key-in-use && $(<"$RUN/key-in-use") != $(sha256sum <"$ETC/engine.key") ]] &&
    systemctl --quiet is-active yoyo-engine.service; then
    systemctl restart yoyo-engine.service || say 'the engine did not start with its new key'
  fi
done
YOYO_FILE
  install_file "$UNITS/yoyo-key.service" 0644 <<YOYO_FILE
[Unit]
Description=yoyo: watches for a new key of the engine
Wants=network-online.target
After=network-online.target

[Service]
ExecStart=$LIB/watch-key
Restart=always
RestartSec=2s

[Install]
WantedBy=multi-user.target
YOYO_FILE
}

step_key() {
  local CHANGED=no
  install_key_scripts
  if [[ $CHANGED == yes ]]; then
    systemctl --no-reload --quiet enable yoyo-key.service
    systemctl daemon-reload
    systemctl --no-block restart yoyo-key.service
  elif ! systemctl --quiet is-active yoyo-key.service; then
    systemctl --no-block enable --quiet --now yoyo-key.service
  fi
  "$LIB/fetch-key" "$LEASE_S" ||
    fail "no key came for request $(<"$RUN/request")" \
      "the controller sent none within the lease ($LEASE_S s), or one sealed for another life" 'run yoyo up again'
}

# Step unit: the engine as a service that comes back at every boot. One that runs unchanged is
# left alone.

install_engine_unit() {
  install_file "$LIB/prepare-engine" 0755 <<'YOYO_FILE'
#!/usr/bin/env bash
# Runs as root before the engine starts, at a boot too: sees that its files are what was checked,
# and waits for the key that this life has.
set -euo pipefail
# shellcheck source=/dev/null
. "${YOYO_ROOT:-}/usr/local/lib/yoyo/lib.sh"
# shellcheck source=/dev/null
. "$LIB/store.sh"

# note_clock: keeps how many seconds the clock is ahead of Google's, by which the metadata server
# dates its answers and the machine is paid. Goes out with the next write. No guard has a use for it.
note_clock() {
  local headers date
  headers=$(metadata instance/attributes/yoyo-request --output /dev/null --dump-header -) || return 0
  date=$(sed -n 's/\r$//; s/^[Dd]ate: //p' <<<"$headers")
  if [[ -n $date ]] && date=$(date --date "$date" +%s); then
    keep_value clock "$(($(date +%s) - date))"
  fi
}

# refuse WHAT: the engine is not started. The startup script, which runs at every boot, fetches
# what differs and starts it then.
refuse() {
  say "the engine is not started: $1"
  keep_value request "$(metadata instance/attributes/yoyo-request || true)"
  publish_now step-unit "failed 0 0 $1; why: its digest is not that of the manifest; fix: reboot the node (yoyo down, yoyo up): what differs is fetched again"
  exit 1
}

mkdir -p "$RUN"
# Another script than the one that set this node up, so perhaps another model: what is on the disk
# is not started, and nobody is told that it is ready. The script, at its step unit, ends this wait.
script=$(metadata instance/attributes/startup-script | sha256sum | cut -d ' ' -f 1) || script=''
if [[ -n $script && -f $STATE/script.sha256 && $(<"$STATE/script.sha256") != "$script" ]]; then
  say 'the node was configured anew: the engine waits for the startup script'
  : >"$RUN/engine-changed"
  exec sleep infinity
fi
if [[ -n $WEIGHTS_MANIFEST ]]; then
  use_set weights
  lock_set
  set_is_intact || refuse "the weights $WEIGHTS_NAME were changed on the disk since they were checked"
  unlock_set
fi
if [[ -n $BUNDLE_MANIFEST ]]; then
  engine_is_intact || refuse "the engine $BUNDLE_NAME was changed on the disk since it was checked"
fi
for set in adapter1 adapter2; do
  use_set "$set"
  lock_set
  set_is_intact || refuse "the adapter $SET_NAME was changed on the disk since it was checked"
  unlock_set
done

# CUDA would call this itself, but the engine may not gain the privilege.
if [[ $GPU == yes ]] && command -v nvidia-modprobe >/dev/null; then
  nvidia-modprobe -u -c 0 || true
fi
"$LIB/fetch-key" "$LIFETIME_S"
sha256sum <"$ETC/engine.key" >"$RUN/key-in-use"
# At a later boot this comes before the startup script, and is all that the controller waits for.
keep_value request "$(metadata instance/attributes/yoyo-request || true)"
keep_value guards "$(armed_guards)"
keep_value cert-sha256 "$(openssl x509 -in "$ETC/tls-cert.pem" -outform DER | sha256sum | cut -d ' ' -f 1)"
note_clock || true
# Of the key itself, without the newline of its file.
publish_now key-sha256 "$(tr -d '\n' <"$ETC/engine.key" | sha256sum | cut -d ' ' -f 1)"
YOYO_FILE
  install_file "$LIB/run-engine" 0755 <<'YOYO_FILE'
#!/usr/bin/env bash
# The engine's command line; where it changes, the engine is started anew.
set -euo pipefail
# shellcheck source=/dev/null
. "${YOYO_ROOT:-}/usr/local/lib/yoyo/lib.sh"

export LD_LIBRARY_PATH=$ENGINES/current/lib:$ENGINES/current/bin
# Neither the cache of prompts in memory nor a slot knows which adapters a prompt was read with; a
# request that names every scale may ask for the slot's. Not as flags: an engine too old to know
# them would end.
export LLAMA_ARG_CACHE_RAM=0 LLAMA_ARG_CACHE_PROMPT=0
exec "$ENGINES/current/bin/llama-server" -m "$STATE/models"/'1212121212121212121212121212121212121212121212121212121212121212/q4/it'"'"'s-00001-of-00002.gguf' --host 0.0.0.0 --port 8443 \
  -c 16384 -np 4 --cache-type-k q8_0 --cache-type-v q8_0 \
  --metrics --slots --no-webui --api-key-file "$ETC/engine.key" \
  --ssl-cert-file "$ETC/tls-cert.pem" --ssl-key-file "$ETC/tls-key.pem" \
  -ngl 999 \
  --lora "$STATE/adapters"/5656565656565656565656565656565656565656565656565656565656565656/dka-style@1.2.0.gguf \
  --lora "$STATE/adapters"/9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a/acme-legal@0.3.0+b1.gguf \
  --lora-init-without-apply \
  --jinja --chat-template 'a '"'"'quoted'"'"' $HOME'
YOYO_FILE
  install_file "$LIB/store.sh" 0644 <<'YOYO_FILE'
# Written by yoyo's startup script; written again, it replaces this file.
# shellcheck shell=bash disable=SC2034,SC2154
# What the node takes from the store: each set pinned by the sha256 of its manifest. The engine
# is given the first file of the weights.
STORE=gs://artefacts/team
WEIGHTS_NAME=qwen3-32b@2
WEIGHTS_MANIFEST=1212121212121212121212121212121212121212121212121212121212121212
WEIGHTS_PATHS=('q4/it'"'"'s-00001-of-00002.gguf' 'q4/it'"'"'s-00002-of-00002.gguf')
WEIGHTS_SIZES=(10000000000 8500000000)
WEIGHTS_DIGESTS=(abababababababababababababababababababababababababababababababab cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd)
BUNDLE_NAME=llama-b6900-sm89
BUNDLE_MANIFEST=3434343434343434343434343434343434343434343434343434343434343434
BUNDLE_PATHS=(bundle.tar.zst)
BUNDLE_SIZES=(900000000)
BUNDLE_DIGESTS=(efefefefefefefefefefefefefefefefefefefefefefefefefefefefefefefef)
ADAPTER1_NAME=dka-style@1.2.0
ADAPTER1_MANIFEST=5656565656565656565656565656565656565656565656565656565656565656
ADAPTER1_PATHS=(dka-style@1.2.0.gguf)
ADAPTER1_SIZES=(50000000)
ADAPTER1_DIGESTS=(7878787878787878787878787878787878787878787878787878787878787878)
ADAPTER2_NAME=acme-legal@0.3.0+b1
ADAPTER2_MANIFEST=9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a
ADAPTER2_PATHS=(acme-legal@0.3.0+b1.gguf)
ADAPTER2_SIZES=(60000000)
ADAPTER2_DIGESTS=(bcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbc)
if [[ -n $BUNDLE_MANIFEST ]]; then ENGINE_ID=bundle-${BUNDLE_DIGESTS[0]:0:16}; fi

# Is what came from the store still what was checked? Used by the steps, and before each start of
# the engine. A stamp says which bytes were checked: digest, size, times of change, inode. While it
# fits, nothing is read again; where it does not, the chunks are.

CHUNK=${YOYO_CHUNK_BYTES:-67108864} # 64 MiB, as docs/formats/store.md has it; less in tests

# use_set weights|bundle|adapterN: the set that the functions here mean. SET_STATE is beside the set, so
# that no file of a set can have the name of one of ours.
use_set() {
  if [[ $1 == weights ]]; then
    SET_NAME=$WEIGHTS_NAME SET_MANIFEST=$WEIGHTS_MANIFEST SET_DIR=$STATE/models/$WEIGHTS_MANIFEST
    SET_PATHS=("${WEIGHTS_PATHS[@]}") SET_SIZES=("${WEIGHTS_SIZES[@]}") SET_DIGESTS=("${WEIGHTS_DIGESTS[@]}")
  elif [[ $1 == adapter1 ]]; then
    SET_NAME=$ADAPTER1_NAME SET_MANIFEST=$ADAPTER1_MANIFEST SET_DIR=$STATE/adapters/$ADAPTER1_MANIFEST
    SET_PATHS=("${ADAPTER1_PATHS[@]}") SET_SIZES=("${ADAPTER1_SIZES[@]}") SET_DIGESTS=("${ADAPTER1_DIGESTS[@]}")
  elif [[ $1 == adapter2 ]]; then
    SET_NAME=$ADAPTER2_NAME SET_MANIFEST=$ADAPTER2_MANIFEST SET_DIR=$STATE/adapters/$ADAPTER2_MANIFEST
    SET_PATHS=("${ADAPTER2_PATHS[@]}") SET_SIZES=("${ADAPTER2_SIZES[@]}") SET_DIGESTS=("${ADAPTER2_DIGESTS[@]}")
  else
    SET_NAME=$BUNDLE_NAME SET_MANIFEST=$BUNDLE_MANIFEST SET_DIR=$STATE/bundles/$BUNDLE_MANIFEST
    SET_PATHS=("${BUNDLE_PATHS[@]}") SET_SIZES=("${BUNDLE_SIZES[@]}") SET_DIGESTS=("${BUNDLE_DIGESTS[@]}")
  fi
  SET_STATE=$SET_DIR.state
}

# One at a time: the step that fetches, and the engine's start that looks. Not held by whoever
# outlives the step, since it is let go of by word.
lock_set() {
  mkdir -p "$SET_DIR" "$SET_STATE"
  exec 5>"$SET_STATE/lock"
  flock 5
}

unlock_set() {
  flock --unlock 5
  exec 5>&-
}

file_sha256() {
  local digest
  digest=$(openssl dgst -sha256 -r "$1" 2>/dev/null) || return
  printf '%s\n' "${digest%% *}"
}

# stamp_of FILE-NUMBER
stamp_of() {
  local file=$SET_DIR/${SET_PATHS[$1]}
  [[ -f $file && ! -L $file ]] && stat -c "${SET_DIGESTS[$1]} %s %.9Y %.9Z %i" "$file"
}

keep_stamp() { stamp_of "$1" >"$SET_STATE/$1.stamp"; }

stamp_fits() {
  local stamp
  [[ -f $SET_STATE/$1.stamp ]] && stamp=$(stamp_of "$1") && [[ $(<"$SET_STATE/$1.stamp") == "$stamp" ]]
}

# Puts the numbers of the files that no stamp vouches for into DOUBTFUL.
find_doubtful() {
  local number
  DOUBTFUL=()
  for number in "${!SET_PATHS[@]}"; do
    stamp_fits "$number" || DOUBTFUL+=("$number")
  done
}

manifest_is_whole() { [[ $(file_sha256 "$SET_STATE/manifest.json") == "$SET_MANIFEST" ]]; }

# Prints `FILE CHUNK SHA256` for each chunk of the doubtful files; fails where the manifest does
# not have a file of that digest and size. The manifest's digest was checked before.
chunks_of_doubtful() {
  local number
  for number in "${DOUBTFUL[@]}"; do
    printf '%s %s %s\n' "$number" "${SET_SIZES[number]}" "${SET_DIGESTS[number]}"
  done | awk -v chunk="$CHUNK" '
    FNR == NR { wanted[$3] = wanted[$3] " " $1; need[$3] = int(($2 + chunk - 1) / chunk); next }
    /"chunks": \[/ { count = 0; listing = !/\]/; listed = 1; next }
    listing && /\]/ { listing = 0; next }
    listing { split($0, part, "\""); digest[count++] = part[2]; next }
    listed && /"sha256": "/ {
      listed = 0
      split($0, part, "\"")
      if (!(part[4] in wanted) || count != need[part[4]]) next
      files = split(wanted[part[4]], file, " ")
      for (each = 1; each <= files; each++)
        for (at = 0; at < count; at++) print file[each], at, digest[at]
      delete wanted[part[4]]
    }
    END { for (left in wanted) exit 1 }
  ' - "$SET_STATE/manifest.json"
}

# each_chunk WORKERS COMMAND CHUNK...: COMMAND for each, WORKERS at once; after a failure none
# begins. Workers are waited for by their ids: of children that end together `wait -n` loses some.
each_chunk() {
  local claims=$SET_STATE/claims worker workers=() code=0
  rm -rf "$claims"
  mkdir "$claims"
  for ((worker = 0; worker < $1; worker++)); do
    work_off "${@:2}" &
    workers+=("$!")
  done
  for worker in "${workers[@]}"; do wait "$worker" || code=$?; done
  rm -rf "$claims"
  return "$code"
}

# work_off COMMAND CHUNK...: what no other worker has claimed; a claim is a file that only one can
# make. In the background each, since `set -e` does not hold inside a condition.
work_off() {
  local chunk at=0 code=0
  for chunk in "${@:2}"; do
    at=$((at + 1))
    if [[ -e $claims/stop ]]; then return; fi
    set -o noclobber
    { : >"$claims/$at"; } 2>/dev/null || continue
    set +o noclobber
    # shellcheck disable=SC2086  # three words
    "$1" $chunk &
    wait "$!" || code=$?
    if ((code != 0)); then
      : >"$claims/stop"
      return "$code"
    fi
  done
}

# measure_chunk FILE CHUNK: sets LENGTH. (Per chunk few processes are started: on a node of four
# CPUs they would cost as much as the checking.)
measure_chunk() {
  LENGTH=$((SET_SIZES[$1] - $2 * CHUNK))
  if ((LENGTH > CHUNK)); then LENGTH=$CHUNK; fi
}

# chunk_sha256 PATH FILE CHUNK: openssl, since it uses the CPU's instructions for SHA.
chunk_sha256() {
  local digest LENGTH
  measure_chunk "$2" "$3"
  digest=$(dd if="$1" bs=1M iflag=skip_bytes,count_bytes,fullblock skip="$(($3 * CHUNK))" \
    count="$LENGTH" status=none | openssl dgst -sha256 -r)
  printf '%s\n' "${digest%% *}"
}

# Where the bytes of a file are: under its name, or what there is of them.
bytes_of() {
  if [[ -f $SET_DIR/${SET_PATHS[$1]} ]]; then
    printf '%s\n' "$SET_DIR/${SET_PATHS[$1]}"
  else
    printf '%s\n' "$SET_STATE/$1.part"
  fi
}

check_chunk() {
  if [[ $(chunk_sha256 "$(bytes_of "$1")" "$1" "$2") == "$3" ]]; then
    printf '%s %s %s\n' "$1" "$2" "$3" >>"$SET_STATE/intact"
  fi
}

# Leaves those of the given chunks that are what they should be in the file `intact`.
check_chunks() {
  : >"$SET_STATE/intact"
  each_chunk "$(nproc)" check_chunk "$@"
}

# set_is_intact: true when every file is what was checked. One that was merely touched gets a new
# stamp; nothing else is changed.
set_is_intact() {
  local number chunks list DOUBTFUL
  find_doubtful
  if [[ -z ${DOUBTFUL[*]} ]]; then return; fi
  manifest_is_whole || return
  for number in "${DOUBTFUL[@]}"; do
    [[ $(stamp_of "$number") == "${SET_DIGESTS[number]} ${SET_SIZES[number]} "* ]] || return
  done
  chunks=$(chunks_of_doubtful) || return
  printf '%s' "${chunks:+$chunks$'\n'}" >"$SET_STATE/chunks"
  mapfile -t list <"$SET_STATE/chunks"
  check_chunks "${list[@]}" || return
  [[ $(wc -l <"$SET_STATE/intact") == "$(wc -l <"$SET_STATE/chunks")" ]] || return
  for number in "${DOUBTFUL[@]}"; do keep_stamp "$number"; done
}

# The engine from a bundle is many files; beside its directory lie their digests and their stamp.
engine_stamp() {
  (cd "$ENGINES/$ENGINE_ID" && find . ! -type d -printf '%P %y %l %s %T@ %C@ %i\n' | LC_ALL=C sort) 2>/dev/null
}

engine_digests() {
  (
    cd "$ENGINES/$ENGINE_ID" || exit
    find . -type f -print0 | xargs -0 -r -n 8 -P "$(nproc)" openssl dgst -sha256 -r | LC_ALL=C sort -k 2
    find . ! -type f ! -type d -printf '%y %l %p\n' | LC_ALL=C sort
  )
}

engine_is_intact() {
  local record=$ENGINES/$ENGINE_ID.digests stamp=$ENGINES/$ENGINE_ID.stamp
  [[ -x $ENGINES/$ENGINE_ID/bin/llama-server && -s $record ]] || return
  if [[ -s $stamp && $(<"$stamp") == "$(engine_stamp)" ]]; then return; fi
  [[ $(<"$record") == "$(engine_digests)" ]] || return
  engine_stamp >"$stamp"
}
YOYO_FILE
  # No PrivateDevices=, for the GPU; no MemoryDenyWriteExecute=, since CUDA compiles kernels at
  # run time. Preparing waits for the key, so it may take long.
  install_file "$UNITS/yoyo-engine.service" 0644 <<YOYO_FILE
[Unit]
Description=yoyo: the engine
Wants=network-online.target
After=network-online.target nvidia-persistenced.service
StartLimitIntervalSec=300s
StartLimitBurst=4

[Service]
Type=exec
User=yoyo-engine
Group=yoyo-engine
ExecStartPre=+$LIB/prepare-engine
ExecStart=$LIB/run-engine
TimeoutStartSec=infinity
TimeoutStopSec=${STOP_GRACE_S}s
Restart=on-failure
RestartSec=5s
Environment=TZ=UTC HOME=/var/cache/yoyo-engine
CacheDirectory=yoyo-engine
LimitMEMLOCK=infinity
UMask=0077

NoNewPrivileges=yes
CapabilityBoundingSet=$(engine_capabilities)
AmbientCapabilities=$(engine_capabilities)
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
YOYO_FILE
}

engine_capabilities() {
  if ((PORT < 1024)); then printf 'CAP_NET_BIND_SERVICE'; fi
}

# A bundle loads its CUDA part when it runs: without it the server would start, and be slow.
require_gpu_in_use() {
  local devices
  if [[ $GPU != yes || $ENGINE_ID != bundle-* ]]; then return; fi
  # As the engine runs: what came from a store is not run as root.
  devices=$(LD_LIBRARY_PATH="$ENGINES/current/lib:$ENGINES/current/bin" timeout 60 \
    runuser -u yoyo-engine -- "$ENGINES/current/bin/llama-server" --list-devices 2>&1) || true
  if ! grep -q 'CUDA[0-9]*:' <<<"$devices"; then
    printf '%s\n' "$devices" | tail -n 5
    fail 'the engine does not see the GPU' "its CUDA part does not load with this machine's driver" \
      "use the image $IMAGE_HINT, or build the bundle for an older CUDA"
  fi
}

step_unit() {
  local CHANGED=no state script
  require_gpu_in_use
  # What prepare-engine compares at the next boot.
  if script=$(metadata instance/attributes/startup-script | sha256sum | cut -d ' ' -f 1); then
    install_file "$STATE/script.sha256" 0644 <<<"$script"
    CHANGED=no
  fi
  install_engine_unit
  if [[ $CHANGED == yes ]]; then
    systemctl --no-reload --quiet enable yoyo-engine.service
    systemctl daemon-reload
    : >"$RUN/engine-changed"
  fi
  state=$(systemctl is-active yoyo-engine.service || true)
  if [[ ! -f $RUN/engine-changed && ($state == active || $state == activating) ]]; then
    skip 'the engine runs unchanged'
    return
  fi
  systemctl reset-failed yoyo-engine.service 2>/dev/null || true
  systemctl --quiet is-enabled yoyo-engine.service || systemctl enable --quiet yoyo-engine.service
  # Stopped first, and waited for: the step health must not take the old one's answer.
  systemctl stop yoyo-engine.service
  systemctl --no-block start yoyo-engine.service
  rm -f "$RUN/engine-changed"
}

# Step health: until the engine answers that it is ready, or is known to have failed.

HEALTH_WAIT_S=1800

# The engine's last words, and what they mean.
explain_engine() {
  local words
  words=$(journalctl --unit yoyo-engine.service --no-pager --output cat --lines 200 2>/dev/null || true)
  printf '%s\n' "$words" | tail -n 15
  case $words in
    *'unknown model architecture'*)
      fail "the engine does not know the model's architecture" \
        "llama.cpp ${ENGINE_COMMIT:0:12} is older than the model" 'set a newer build.commit, or another model'
      ;;
    *'out of memory'* | *'failed to allocate'*)
      fail 'the engine ran out of memory' 'model and context do not fit' \
        'set a smaller engine.ctx or engine.parallel, or a quantised cache (engine.cache_type_k)'
      ;;
    *"couldn't bind"* | *'Address already in use'*)
      fail "the engine cannot listen on port $PORT" 'another service holds it' \
        'stop that service and disable it, or set another engine.port'
      ;;
  esac
  fail 'the engine does not stay up' "$(tail -n 1 <<<"$words" | cut -c 1-150)" \
    'see journalctl -u yoyo-engine on the node'
}

remove_old_adapters() {
  local each
  for each in "$STATE"/adapters/*; do
    case ${each##*/} in
      "$ADAPTER1_MANIFEST"*) ;;
      "$ADAPTER2_MANIFEST"*) ;;
      *) rm -rf "$each" ;;
    esac
  done
}

# What a node ran from before a swap would fill its disk, where nobody can remove it. Only once the
# new one answers: until then the old one is the way back.
remove_old_sets() {
  local each
  if [[ -z $WEIGHTS_MANIFEST ]]; then return; fi
  for each in "$STATE"/models/* "$STATE"/bundles/*; do
    if [[ ${each##*/} =~ ^[0-9a-f]{64}(\.state)?$ ]]; then
      case ${each##*/} in
        "$WEIGHTS_MANIFEST"* | "${BUNDLE_MANIFEST:-none}"*) ;;
        *) rm -rf "$each" ;;
      esac
    fi
  done
  for each in "$ENGINES"/bundle-*; do
    if [[ ${each##*/} != "$ENGINE_ID"* ]]; then rm -rf "$each"; fi
  done
}

step_health() {
  local code deadline told=''
  deadline=$(($(uptime_s) + HEALTH_WAIT_S))
  while :; do
    code=$(engine_get /health --output /dev/null --write-out '%{http_code}' || true)
    if [[ $code == 200 ]]; then
      remove_old_sets
      remove_old_adapters
      return
    fi
    if systemctl --quiet is-failed yoyo-engine.service; then explain_engine; fi
    if (($(uptime_s) >= deadline)); then explain_engine; fi
    if [[ $code != "$told" ]]; then
      progress 0 "the engine answers ${code/000/nothing yet}"
      told=$code
    fi
    sleep 0.1
  done
}

# What belongs to this boot, before anything else is said: the request says whose words they are.
announce_boot() {
  local request
  rm -f "$RUN/request"
  if request=$(metadata instance/attributes/yoyo-request); then
    printf '%s' "$request" >"$RUN/request"
  fi
  keep_value request "${request:-}"
  keep_value boot-id "$(<"$ROOT/proc/sys/kernel/random/boot_id")"
  publish phase running
}

chain_software() {
  run_step dpkg
  run_step packages
  run_step engine &
  run_step weights &
  wait_for_chains 2
}

# Whatever ends the script too early, the controller is told.
at_exit() {
  local code=$? failed=startup
  if ((code == 0)); then return; fi
  # shellcheck disable=SC2046  # process ids
  kill -TERM $(jobs -p | sed 's/^/-/') 2>/dev/null || true
  if [[ -f $RUN/failed ]]; then failed=$(<"$RUN/failed"); fi
  publish_now phase "failed $failed"
  say "phase failed $failed"
}

main() {
  prepare_directories
  # Held for as long as the bootstrap runs: the dead-man sees work here.
  exec 9>"$RUN/bootstrap.lock"
  if ! flock --nonblock 9; then
    say 'another run of the startup script is under way: this one ends'
    return
  fi
  rm -f "$RUN/failed"
  trap at_exit EXIT

  SEAL_KEY_JOB=''
  begin_seal_key
  begin_step guards
  execute_step
  announce_boot
  finish_step
  publish guards "$(armed_guards)"

  if ! command -v curl >/dev/null || ! command -v openssl >/dev/null; then
    run_step dpkg
    run_step packages
    announce_boot
  fi
  if [[ -n $SEAL_KEY_JOB ]]; then wait "$SEAL_KEY_JOB" || true; fi
  run_step identity

  # Each chain becomes a process group, so that at_exit ends what a chain started.
  set -m
  run_step gpu </dev/null &
  run_step key </dev/null &
  chain_software </dev/null &
  wait_for_chains 3
  set +m

  run_step unit
  run_step health
  publish_now phase ready
  say "critical path $(critical_path)"
  say 'phase ready'
}

# Sourced, as tests do, it only defines.
if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  main
fi
