# Four guests that create processes at the same time, each with work of its own only.

# counter NAME: prints the hypervisor's counter, summed over all pCPUs.
counter() {
    xl dmesg -c > /dev/null
    xl debug-keys p
    xl dmesg | sed -n "s/^(pv) counter $1 \([0-9]*\)$/\1/p"
}

#: four guests are up
for number in 1 2 3 4; do
    small "guest$number"
    create "guest$number"
    up "guest$number"
done

#: their page tables cost their neighbours hardly an interrupt
if is_paravane; then
    for number in 1 2 3 4; do
        echo 'while :; do /bin/true; done' > "$(terminal "guest$number")"
    done
    # The control domain's mappings from building them are looked up once.
    sleep 10
    promotions=$(counter 'frames promoted')
    asked=$(counter 'flushes asked of others')
    ipis=$(counter ipis)
    sleep 25
    promotions=$(($(counter 'frames promoted') - promotions))
    asked=$(($(counter 'flushes asked of others') - asked))
    ipis=$(($(counter ipis) - ipis))
    echo "$promotions frames promoted, $asked flushes asked of others, $ipis IPIs"
    test "$promotions" -gt 1000
    test "$((asked * 20))" -lt "$promotions"
fi

#: they end
for number in 1 2 3 4; do
    xl destroy "guest$number"
    soon gone "guest$number"
done
nothing_left
