"""What runs on the phone: three POSIX scripts, the same for every bench.

Nothing is pasted into them; what differs comes as arguments and as a file of numbers. They use
what Android's toybox has had since Android 7. A loop ends when its output is no longer read:
the next `echo` fails.
"""

from __future__ import annotations

RUN_JOBS = """\
# folder jobs from count threads warmup_s limit_s
# Runs `count` jobs from line `from` on, each in a separate process, and prints its output.
cd "$1" || exit 3
limit=
if timeout 1 true 2>/dev/null; then limit="timeout -s KILL $7"; fi
tail -n "+$3" "$2" | head -n "$4" | while read -r number model offset tokens warmups runs keep; do
  rm -f output
  dd if="inputs.$model" bs=4 skip="$offset" count="$tokens" of=input 2>/dev/null || exit 4
  $limit ./benchmark_model --graph="model.$model.tflite" --num_threads="$5" \\
    --input_layer=input_ids --input_layer_shape="1,$tokens" \\
    --input_layer_value_files=input_ids:input \\
    --warmup_runs="$warmups" --warmup_min_secs="$6" --num_runs="$runs" --min_secs=0 \\
    --output_filepath=output >log 2>&1 </dev/null
  status=$?
  echo "@job $number $status" || exit 1
  if [ "$status" -eq 0 ]; then
    grep -e count= -e 'Init: ' -e 'XNNPACK delegate' log
    if [ "$keep" -eq 1 ]; then
      echo @logits
      od -An -v -tx1 output
    fi
  else
    tail -n 20 log
  fi
  echo "@end $number" || exit 1
done
"""

WATCH_MEMORY = """\
# folder model inputs offset tokens threads seconds
# Runs one model for some seconds and reads, ten times a second, what the kernel reports of it.
cd "$1" || exit 3
dd if="$3" bs=4 skip="$4" count="$5" of=input 2>/dev/null || exit 4
./benchmark_model --graph="$2" --num_threads="$6" \\
  --input_layer=input_ids --input_layer_shape="1,$5" \\
  --input_layer_value_files=input_ids:input \\
  --warmup_runs=1 --warmup_min_secs=0 --num_runs=1 --min_secs="$7" >log 2>&1 </dev/null &
tool=$!
while cat "/proc/$tool/status" >seen 2>/dev/null && grep -q VmHWM seen; do
  echo @sample || exit 1
  grep -e '^Vm[HR]' -e '^Rss' seen
  grep '^Pss:' "/proc/$tool/smaps_rollup" 2>/dev/null
  cat "/proc/$tool/stat" 2>/dev/null
  sleep 0.1
done
wait "$tool"
echo "@tool $?"
tail -n 20 log
"""

PROFILE = """\
# folder model inputs offset tokens threads runs
cd "$1" || exit 3
dd if="$3" bs=4 skip="$4" count="$5" of=input 2>/dev/null || exit 4
./benchmark_model --graph="$2" --num_threads="$6" \\
  --input_layer=input_ids --input_layer_shape="1,$5" \\
  --input_layer_value_files=input_ids:input \\
  --warmup_runs=5 --warmup_min_secs=0 --num_runs="$7" --min_secs=0 \\
  --enable_op_profiling=true </dev/null 2>&1
"""
