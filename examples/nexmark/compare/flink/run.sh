#!/usr/bin/env bash
# run.sh --query q5 --events 10000000 [--parallelism 1] [--backend heap|rocksdb] [--checkpoint-ms 0] [--seed 1] [more]
#   Runs one Nexmark query on Flink in one JVM and prints one JSON line. Builds the program first, when its sources have changed; "run.sh build"
#   only builds. Needs bash, sha256sum, Java 17 and Maven 3.8 or newer (which fetches Flink). The README beside this file lists all options.
# Environment: HEAP = heap of the JVM, both -Xms and -Xmx (default 4g); JOPTS = more JVM options; LOG = level of Flink's log on stderr (default
#   error); BUILD = folder of the build (default .cache/nexmark-flink at the root of the repository); MVN = command in place of "mvn".
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=${BUILD:-$here/../../../../.cache/nexmark-flink}

sources() { (cd "$here" && find pom.xml src -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum); }

# The build happens on a copy: no Maven output beside sources, and a build that failed halfway leaves no stamp.
build_once() {
  local want; want=$(sources)
  [[ ! -f $build/stamp || $(<"$build/stamp") != "$want" ]] || return 0
  rm -rf "$build"
  mkdir -p "$build"
  cp -r "$here/pom.xml" "$here/src" "$build/"
  (cd "$build" && ${MVN:-mvn} -q -B package 1>&2)
  printf '%s\n' "$want" >"$build/stamp"
}

build_once
[[ ${1:-} != build ]] || exit 0
opens=()
for package in java.util java.lang java.time java.net java.util.concurrent java.nio; do opens+=("--add-opens=java.base/$package=ALL-UNNAMED"); done
# Direct memory is bounded apart from the heap, as in a TaskManager: by default the JVM bounds it by the heap.
# shellcheck disable=SC2086 # JOPTS is a list of words
exec java -Xms"${HEAP:-4g}" -Xmx"${HEAP:-4g}" -XX:+UseParallelGC -XX:MaxDirectMemorySize=1g -XX:+ExitOnOutOfMemoryError ${JOPTS:-} "${opens[@]}" \
  -Dorg.slf4j.simpleLogger.defaultLogLevel="${LOG:-error}" -cp "$build/target/classes:$build/target/lib/*" nexmark.Main "$@"
