cat > CMakeLists.txt <<'CMAKE'
cmake_minimum_required(VERSION 3.20)
project(hello C)
enable_testing()
add_library(part STATIC part.c)
add_executable(hello main.c)
target_link_libraries(hello part)
add_test(NAME says COMMAND hello)
CMAKE
echo 'int part(void) { return 0; }' > part.c
echo 'int part(void); int main(void) { return part(); }' > main.c
cmake -G Ninja -S . -B build > log || { cat log >&2; exit 1; }
cmake --build build -j 2 > log || { cat log >&2; exit 1; }
cd build
ctest > log || { cat log >&2; exit 1; }
