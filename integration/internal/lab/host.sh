# Makes the file system of a host (see Host) and stays, as its first process. It is
# started in mount and process namespaces of its own.
# host.sh LOWER DIR SHARED TOOLS
#   LOWER   the root of an installed system, which is only read
#   DIR     what the host writes
#   SHARED  a directory that the host sees at the same path
#   TOOLS   one that it may only read, if it exists
set -eu
lower=$1 dir=$2 shared=$3 tools=$4
root=$dir/root

mount --make-rprivate /
mkdir "$root" "$dir/work" "$dir/home" "$dir/storage" "$dir/containerd"
mount -t overlay -o "lowerdir=$lower,upperdir=$dir/upper,workdir=$dir/work" overlay "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
# podman's locks lie in /dev/shm, its state in /run.
mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
mount -t tmpfs -o mode=755 run "$root/run"
# Whoever works on this machine has credentials and settings there.
mount -t tmpfs -o mode=700 root "$root/root"
# Images are stored in overlays, which can't lie upon another one.
mkdir -p "$root/home" "$root/var/lib/containers" "$root/var/lib/containerd" "$root$shared"
mount --bind "$dir/home" "$root/home"
mount --bind "$dir/storage" "$root/var/lib/containers"
mount --bind "$dir/containerd" "$root/var/lib/containerd"
mount --bind "$shared" "$root$shared"
if [ -d "$tools" ]; then
	mkdir -p "$root$tools"
	mount --bind "$tools" "$root$tools"
	mount -o remount,bind,ro "$root$tools"
fi

mkdir -p "$root/.old"
cd "$root"
# After a chroot instead, podman can't unpack layers.
pivot_root . .old
umount -l /.old

for user in alice:1001 bob:1002; do
	install -d -m 700 -o "${user#*:}" -g "${user#*:}" "/home/${user%:*}" "/run/user/${user#*:}"
done
chmod 711 /run/user
echo ready
# A shell that waits takes the orphans of containers, too.
sleep infinity &
wait
