# Malformed input is refused by the tools, or is harmless, and leaves nothing behind.

# refused COMMAND...: expects it to fail with a message.
refused() {
    if "$@" > /tmp/refusal 2>&1; then
        echo "should have been refused: $*"
        exit 1
    fi
    grep -v '^Parsing config\|^Loading new\|^ Savefile\|^xc: info' /tmp/refusal | head -n 1
    test -s /tmp/refusal
    gone bad
}

# refused_config LINE...
refused_config() {
    small bad "$@"
    refused xl create -p /tmp/bad.cfg
}

# borne COMMAND...: it is refused, or creates a guest, which is destroyed.
borne() {
    if "$@" > /tmp/refusal 2>&1; then
        echo "not noticed: $*"
        xl destroy bad
    else
        gone bad
    fi
}

# flip FILE OFFSET BIT: writes a copy with this bit inverted to /tmp/flipped.
flip() {
    cp "$1" /tmp/flipped
    byte=$(od -An -tu1 -j "$2" -N 1 "$1")
    printf "\\$(printf '%03o' $((byte ^ (1 << $3))))" | dd of=/tmp/flipped bs=1 seek="$2" conv=notrunc status=none
}

as_much_free() {
    test "$(free_memory)" = "$(cat /tmp/free)"
}

all_is_back() {
    nothing_left
    soon as_much_free
}

#: before
free_memory | tee /tmp/free

#: configurations
refused_config "memory = = 64"
refused_config "vif = [ 'bridge=xenbr0'"
refused_config "kernel = '/nowhere/vmlinuz'"
refused_config "ramdisk = '/nowhere/ramdisk'"
refused_config "memory = 'much'"
refused_config "memory = 1"
refused_config "memory = 1000000"
refused_config "vcpus = 100000"
refused_config "type = 'hvm'"
refused_config "type = 'pvh'"
refused_config "disk = ['format=raw,vdev=xvda,access=rw,target=/nowhere/disk']"
refused_config "disk = ['format=raw,vdev=nonsense,access=rw,target=/etc/passwd']"
all_is_back

#: a bridge that is not there
refused_config "vif = ['bridge=nowhere']"
all_is_back

#: truncated kernels
size=$(stat -c %s $here/vmlinuz-small)
for length in 0 1 511 512 1024 4096 65536 1048576 $((size / 2)) $((size * 3 / 4)); do
    head -c "$length" $here/vmlinuz-small > /tmp/kernel
    echo "$length bytes:"
    refused_config "kernel = '/tmp/kernel'"
done
all_is_back

#: no kernels
head -c 4M /dev/urandom > /tmp/kernel
refused_config "kernel = '/tmp/kernel'"
head -c 4M /dev/zero > /tmp/kernel
refused_config "kernel = '/tmp/kernel'"
refused_config "kernel = '/bin/ls'"
refused_config "kernel = '/'"
all_is_back

#: kernels with a flipped bit
size=$(stat -c %s $here/vmlinuz-small)
small bad "kernel = '/tmp/flipped'"
for offset in 510 514 518 529 530 584 588 592 $(seq 20000 $((size / 8)) "$size"); do
    flip $here/vmlinuz-small "$offset" $((offset % 8))
    borne xl create -p /tmp/bad.cfg
done
all_is_back

#: a saved guest
small bad
create bad
up bad
xl save bad /tmp/save
gone bad
xl restore /tmp/save
xl destroy bad
all_is_back

#: truncated save files (1800)
size=$(stat -c %s /tmp/save)
for length in 0 1 40 200 1000 3000 8000 100000 $((size / 2)) $((size - 4096)) $((size - 64)); do
    head -c "$length" /tmp/save > /tmp/flipped
    echo "$length bytes:"
    refused xl restore -p /tmp/flipped
done
# The guest's image is followed by an end marker, which xl does not need.
for length in $((size - 8)) $((size - 1)); do
    head -c "$length" /tmp/save > /tmp/flipped
    borne xl restore -p /tmp/flipped
done
all_is_back

#: save files with a flipped bit (3600)
size=$(stat -c %s /tmp/save)
for offset in $(seq 3 97 1600) $(seq 1700 331 6000) $(seq 50000 $((size / 8)) "$size") \
    $(seq $((size - 9000)) 797 "$size"); do
    flip /tmp/save "$offset" $((offset % 8))
    echo "$offset:"
    borne xl restore -p /tmp/flipped
done
all_is_back

#: the hypervisor works as before
small good
create good
up good
ask good true
xl destroy good
all_is_back
