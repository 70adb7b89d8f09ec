"""A project laid out as llama.cpp's, small enough to be compiled in a second."""

from __future__ import annotations

import tarfile
from pathlib import Path

CMAKE = """\
cmake_minimum_required(VERSION 3.14)
project(tiny CXX)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
add_library(ggml SHARED src/ggml.cpp)
set_target_properties(ggml PROPERTIES VERSION 0.1 SOVERSION 0)
add_library(ggml-cpu MODULE src/cpu.cpp)
add_executable(llama-server src/server.cpp)
target_link_libraries(llama-server ggml ${CMAKE_DL_LIBS})
"""

ARCHITECTURES = """\
static const std::map<llm_arch, const char *> LLM_ARCH_NAMES = {
    { LLM_ARCH_CLIP,    "clip"      }, // a dummy
    { LLM_ARCH_QWEN3,   "qwen3"     },
    { LLM_ARCH_LLAMA,   "llama"     },
    { LLM_ARCH_UNKNOWN, "(unknown)" },
};
"""

# __FILE__ is what would differ from one folder to another.
LIBRARY = """\
#include <stdexcept>
#include <string>
std::string where() { return __FILE__; }
std::string word(bool known) {
    if (!known) throw std::runtime_error("no such word");
    return "island";
}
"""

MODULE = 'extern "C" int answer() { return 42; }\n'

SERVER = r"""
#include <dlfcn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cstdio>
#include <cstring>
#include <string>
std::string where();
std::string word(bool known);
int main(int count, char ** values) {
    std::string self(4096, 0), address;
    self.resize(readlink("/proc/self/exe", &self[0], self.size()));
    std::string beside = self.substr(0, self.rfind('/')) + "/libggml-cpu.so";
    if (!dlopen(beside.c_str(), RTLD_NOW)) { std::fprintf(stderr, "%s\n", dlerror()); return 3; }
    if (count == 2) { std::printf("version: tiny %s\n", where().c_str()); return 0; }
    for (int at = 1; at + 1 < count; at++)
        if (!std::strcmp(values[at], "--host")) address = values[at + 1];
    try { word(false); } catch (const std::exception & thrown) { std::puts(thrown.what()); }
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    std::strncpy(name.sun_path, address.c_str(), sizeof name.sun_path - 1);
    int door = socket(AF_UNIX, SOCK_STREAM, 0), guest;
    if (bind(door, (sockaddr *) &name, sizeof name) || listen(door, 8)) return 4;
    while ((guest = accept(door, nullptr, nullptr)) >= 0) {
        char asked[4096];
        if (read(guest, asked, sizeof asked) <= 0) continue;
        std::string body = "{\"content\":\"" + word(true) + "\"}";
        std::string reply = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: "
            + std::to_string(body.size()) + "\r\n\r\n" + body;
        if (write(guest, reply.data(), reply.size()) < 0) return 5;
        shutdown(guest, SHUT_WR);
        while (read(guest, asked, sizeof asked) > 0) {}  // a body may still be on its way
        close(guest);
    }
}
"""

FILES = {
    "CMakeLists.txt": CMAKE,
    "LICENSE": "The tiny licence.\n",
    "licenses/LICENSE-words": "The words' licence.\n",
    "src/llama-arch.cpp": ARCHITECTURES,
    "src/ggml.cpp": LIBRARY,
    "src/cpu.cpp": MODULE,
    "src/server.cpp": SERVER,
}


def write_source(root: Path, **changed: str) -> Path:
    """The project in `root`; `changed` replaces files, by their name without folder and suffix."""
    for name, content in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(changed.get(path.stem.replace("-", "_"), content))
    return root


def write_tarball(root: Path, path: Path) -> Path:
    """The project as a source package that carries it one folder down."""
    with tarfile.open(path, "w:gz") as tar:
        tar.add(root, "package-1.0/llama.cpp")
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    """What an unpacked bundle holds."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
