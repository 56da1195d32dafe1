# Prepended to each step of every scenario. Guests have a shell on their console, which xenconsoled
# also writes to a file.
here=/run/xtask
trap 'test $? = 0 || dmesg | tail -n 3' EXIT
consoles=/var/log/xen/console

# config NAME [LINE...]: writes a guest's configuration; the lines override the defaults. The TSC is
# native, because Xen would emulate it on a processor without an invariant TSC, such as the emulated
# one, and be slow in comparisons.
config() {
    file=/tmp/$1.cfg
    {
        echo "name = '$1'"
        echo "kernel = '$here/vmlinuz'"
        echo "ramdisk = '$here/guest.ramdisk'"
        echo "memory = 160"
        echo "vcpus = 1"
        echo "tsc_mode = 'native'"
        echo "extra = 'console=hvc0'"
    } > "$file"
    shift
    for line in "$@"; do
        echo "$line" >> "$file"
    done
}

# small NAME [LINE...]: writes the configuration of a small guest, with a stock kernel that
# decompresses quickly and frees what it can; for scenarios whose machine has that kernel.
small() {
    name=$1
    shift
    config "$name" "kernel = '$here/vmlinuz-small'" "memory = 96" \
        "extra = 'console=hvc0 initcall_blacklist=tracer_init_tracefs initramfs_async=0'" "$@"
}

# soon COMMAND...: repeats it until it succeeds.
soon() {
    until "$@" > /tmp/soon 2>&1; do
        sleep 0.2
    done
    cat /tmp/soon
}

fails() {
    if "$@"; then
        echo "should have failed: $*"
        exit 1
    fi
}

# state NAME: prints its state in xl list, for example r----- or --p---.
state() {
    xl list "$1" | tail -n 1 | sed 's/ *$//' | awk '{ print $5 }'
}

# create NAME: creates it from its configuration, with a new console file.
create() {
    rm -f "$consoles/guest-$1.log"
    xl create "/tmp/$1.cfg"
}

# up NAME: waits until its shell has started.
up() {
    soon grep -q '@run ready' "$consoles/guest-$1.log"
}

# terminal NAME: prints the control domain's end of its console.
terminal() {
    xenstore-read "/local/domain/$(xl domid "$1")/console/tty"
}

answered() {
    tail -c "+$1" "$consoles/guest-$2.log" | tr -d '\r' | grep '^=42=[0-9]*=$'
}

# ask NAME COMMAND: runs it in the guest's shell and prints its output. The status is that of the
# first part that failed.
ask() {
    from=$(($(stat -c %s "$consoles/guest-$1.log") + 1))
    printf '(set -e\n%s\n); status=$?; echo; echo =$((6*7))=$status=\n' "$2" > "$(terminal "$1")"
    soon answered "$from" "$1" > /tmp/answer
    tail -c "+$from" "$consoles/guest-$1.log" | tr -d '\r' | sed '/=42=/,$d'
    return "$(tr -d '\n' < /tmp/answer | sed 's/^=42=\([0-9]*\)=.*/\1/')"
}

gone() {
    ! xl domid "$1" > /dev/null 2>&1
}

# nothing_left: checks that no guest is left, and nothing of one.
nothing_left() {
    soon sh -c 'test "$(xl list | grep -c .)" = 2'
    test "$(xenstore-ls /local/domain | grep -c '^[0-9]* = ""')" = 1
    test -z "$(ls /sys/class/net/xenbr0/brif)"
    # On a busy host xl ends its scripts after ten seconds, which leaves a loop device.
    grep -q 'because of timeout' /var/log/xen/xl-*.log || soon sh -c 'test -z "$(losetup -a)"'
}

is_paravane() {
    xl info | grep -q '^xen_changeset *: paravane'
}

# free_memory: prints the hypervisor's free memory in MiB.
free_memory() {
    xl info | sed -n 's/^free_memory *: //p'
}
