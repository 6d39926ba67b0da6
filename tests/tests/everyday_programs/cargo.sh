# The toolchain is in the folder that the process was given.
export PATH="$1/bin:$PATH"
cargo new --quiet --vcs none dependency --lib
cargo new --quiet --vcs none application
cd application
cargo add --quiet --offline --path ../dependency
echo 'fn main() { println!("cargo::rustc-env=MADE=by a build script"); }' > build.rs
echo 'fn main() { println!("{} {}", env!("MADE"), dependency::add(1, 2)); }' > src/main.rs
cargo build --quiet --offline
test "$(target/debug/application)" = 'by a build script 3'
