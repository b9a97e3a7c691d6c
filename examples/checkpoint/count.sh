# Counts to 8 and saves every step. What it finds in restored/ is where an
# earlier attempt got to.
cd "$ENTROPY_CHECKPOINT_DIR"
n=0
if [ -e restored/count ]; then n=$(cat restored/count); fi
echo "attempt $ENTROPY_ATTEMPT counts from $n"

while [ "$n" -lt 8 ]; do
  n=$((n + 1))
  mkdir next && echo "$n" > next/count # where nobody looks
  mv next "ready/step-$n"              # all of it at once

  # So that the example is the same every time: the first attempt waits to be
  # killed, at 5 and not before that is saved.
  if [ "$n" = 5 ] && [ "$ENTROPY_ATTEMPT" = 1 ]; then
    until grep -q "saved step-5" status 2> /dev/null; do sleep 0.1; done
    echo "process $$ may be killed"
    sleep 1000
  fi
done
echo "it has counted to $n"
