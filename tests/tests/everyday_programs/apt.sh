mkdir -p root/DEBIAN repository state/lists/partial cache/archives/partial
cat > root/DEBIAN/control <<CONTROL
Package: hello
Version: 1.0
Architecture: all
Maintainer: nobody <nobody@example.com>
Description: nothing
CONTROL
dpkg-deb --build --root-owner-group root repository/hello.deb > /dev/null
{
    dpkg-deb --field repository/hello.deb
    echo 'Filename: ./hello.deb'
    stat --format='Size: %s' repository/hello.deb
    echo "SHA256: $(sha256sum repository/hello.deb | cut -d' ' -f1)"
} > repository/Packages
echo "deb [trusted=yes] file:$PWD/repository ./" > sources
touch status
apt_get() {
    apt-get -qq -o Dir::Etc::SourceList="$PWD/sources" -o Dir::Etc::SourceParts=/dev/null -o Dir::State="$PWD/state" \
        -o Dir::State::status="$PWD/status" -o Dir::Cache="$PWD/cache" -o APT::Update::Post-Invoke-Success= "$@"
}
apt_get update
apt_get download hello
cmp hello_1.0_all.deb repository/hello.deb
