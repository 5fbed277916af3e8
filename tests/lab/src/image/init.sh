#!/bin/busybox sh
# First program of the guest: modules, disks, and then `lab-guest` as process 1.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in /modules/*; do insmod "$module"; done

# Disks are known by their serial numbers, and may take a moment to appear.
disk() {
    for try in $(seq 200); do
        for device in /sys/block/vd*; do
            [ "$(cat "$device/serial" 2>/dev/null)" = "$1" ] && echo "/dev/${device##*/}" && return
        done
        usleep 50000
    done
    echo "no disk $1" >&2
}

# Where the guest's root lies until it becomes `/`.
root=/root
mount -t ext4 -o ro "$(disk pf-root)" "$root"
mount -t ext4 -o ro "$(disk pf-tools)" "$root/lab"
mount -t ext4 -o ro "$(disk pf-server)" "$root/server"
mount -t ext4 -o rw,noatime "$(disk pf-data)" "$root/data"

for folder in run tmp var/log var/tmp; do mount -t tmpfs tmpfs "$root/$folder"; done

# A shell for people on the second serial port (`lab shell`), and another when it ends. In the background only while
# there is a `/dev/null` here.
chroot "$root" /bin/busybox sh -c '
    export PATH=/lab:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp TERM=xterm-256color
    while sleep 1; do
        [ -c /dev/ttyS1 ] && busybox setsid -c bash -i </dev/ttyS1 >/dev/ttyS1 2>&1
    done' &

mount --move /proc "$root/proc"
mount --move /sys "$root/sys"
mount --move /dev "$root/dev"
mkdir -p "$root/dev/shm" "$root/dev/pts"
mount -t devpts devpts "$root/dev/pts"
mount -t tracefs tracefs "$root/sys/kernel/tracing"
mount -t bpf bpf "$root/sys/fs/bpf"
ifconfig lo 127.0.0.1 up

# A server in a root of its own sees the guest's files.
if [ -d "$root/server/usr/sbin" ]; then
    for folder in @SHARED@; do mount --bind "$root/$folder" "$root/server/$folder"; done
fi

# The names that udev would give to the ports (`/dev/virtio-ports/NAME`).
mkdir -p "$root/dev/virtio-ports"
for port in "$root"/sys/class/virtio-ports/*; do
    ln -s "../${port##*/}" "$root/dev/virtio-ports/$(cat "$port/name")"
done
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp
exec switch_root "$root" /lab/lab-guest
