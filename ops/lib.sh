# Shared by the scripts in ops/. Sourced with bash, from the root of the repository.

set -euo pipefail

# Debian packages that the build links against, and what the scripts use.
build_packages=(librocksdb-dev libzstd-dev)
# Tests that compute for minutes run apart from the others: beside them some of those, which have a limit of time, would wait
# for a processor until it is over.
computing_tests='BitRotTests|EngineConformanceTests|LogStoreTests|MetadataMachineTests|SimulationTests'

die() {
    echo "error: $*" >&2
    exit 1
}

# Runs a step, and says what it is and how long it took.
step() {
    local title=$1 started=$SECONDS
    shift
    echo "== $title"
    "$@" || die "$title failed (after $((SECONDS - started)) s)"
    echo "== $title: $((SECONDS - started)) s"
}

# Installs those of the packages named that are missing.
install_packages() {
    local package missing=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    command -v apt-get >/dev/null || die "missing: ${missing[*]}. This is no Debian: install them by hand."
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || die "missing: ${missing[*]}. Run as root: apt-get install ${missing[*]}"
        as_root=(sudo)
    fi
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

check_swift() {
    command -v swift >/dev/null || die "no swift in PATH: install Swift 6.3 from https://www.swift.org/install/linux"
}

# Every import must have its arrow in Package.swift.
swift_build() {
    swift build --explicit-target-dependency-import-check error "$@"
}

# Makes ./quorate the release binary.
place_binary() {
    ln -sfn "$(swift build -c release --show-bin-path)/quorate" quorate
}
