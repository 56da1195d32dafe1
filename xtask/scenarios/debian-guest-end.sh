#: shutdown (600)
xl shutdown -w debian
soon gone debian

#: its disk afterwards (600)
mount -o ro /dev/vda $mnt
test "$(md5sum < $mnt/srv/large | cut -d' ' -f1)" = "$(cat $keep/large.sum)"
grep kept $mnt/root/mark
umount $mnt
e2fsck -fn /dev/vda

#: nothing is left
soon sh -c 'test "$(xl list | grep -c .)" = 2'
test "$(xenstore-ls /local/domain | grep -c '^[0-9]* = ""')" = 1
test "$(free_memory)" = "$(cat $keep/free)"
