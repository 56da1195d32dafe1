#!/bin/sh
# Boots a test guest as the initial domain of a real Xen, the oracle for the expectations of a
# check.
# usage: oracle.sh XEN-IMAGE GUEST-ELF [COMMAND-LINE [MODULE]]
# Exit status 0: the guest printed `RESULT: success`. XEN-IMAGE is an unpacked /boot/xen-4.17-amd64.
# Environment: CPUS, TIMEOUT (seconds), ACCEL, XEN_OPTIONS, QEMU_CPU.
# spec-ctrl=no: with its mitigations Xen hides AVX from guests on this CPU model.
set -eu
xen=$1 guest=$2 line=${3:-} module=${4:-}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
modules="$guest $line"
[ -z "$module" ] || modules="$modules,$module"
timeout "${TIMEOUT:-120}" qemu-system-x86_64 -accel "${ACCEL:-tcg}" -cpu "${QEMU_CPU:-Haswell}" -m 512 -smp "${CPUS:-1}" \
    -display none -serial "file:$log" -monitor none -no-reboot -kernel "$xen" \
    -append "console=com1 com1=115200,8n1 loglvl=all guest_loglvl=all noreboot sync_console spec-ctrl=no dom0_mem=128M dom0_max_vcpus=${VCPUS:-1} ${XEN_OPTIONS:-}" \
    -initrd "$modules" &
qemu=$!
while kill -0 $qemu 2>/dev/null; do
    if grep -aq -e 'RESULT: ' -e 'halting machine' -e 'Panic on CPU' -e 'Domain 0 crashed' "$log"; then
        sleep 0.5
        kill $qemu 2>/dev/null || true
        break
    fi
    sleep 0.2
done
wait $qemu 2>/dev/null || true
if [ -n "${VERBOSE:-}" ]; then cat "$log"; else
    grep -aq 'kB init memory' "$log" && sed '1,/kB init memory/d' "$log" || tail -20 "$log"
fi
grep -aq '^RESULT: success' "$log"
