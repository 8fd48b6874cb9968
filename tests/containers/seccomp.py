"""Makes the program of a seccomp filter out of a profile, as container engines do: with libseccomp, for this machine."""
import ctypes
import json
import os
import tempfile

ALLOW, ERRNO = 0x7FFF0000, 0x00050000
OPERATORS = {"SCMP_CMP_NE": 1, "SCMP_CMP_LT": 2, "SCMP_CMP_LE": 3, "SCMP_CMP_EQ": 4, "SCMP_CMP_GE": 5, "SCMP_CMP_GT": 6,
             "SCMP_CMP_MASKED_EQ": 7}


class Comparison(ctypes.Structure):
    _fields_ = [("index", ctypes.c_uint), ("operator", ctypes.c_int), ("value", ctypes.c_uint64),
                ("other", ctypes.c_uint64)]


def action(name, errno):
    return {"SCMP_ACT_ALLOW": ALLOW, "SCMP_ACT_ERRNO": ERRNO | errno}[name]


def program(profile):
    """The filter's instructions, for `bwrap --seccomp`. `profile` is a parsed one without conditions."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_rule_add_array.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint,
                                               ctypes.c_void_p]
    library.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    default = action(profile["defaultAction"], profile.get("defaultErrnoRet", 1))
    context = library.seccomp_init(ctypes.c_uint32(default))
    for rule in profile["syscalls"]:
        wanted = action(rule["action"], rule.get("errnoRet", 1))
        if wanted == default:
            continue  # libseccomp refuses what changes nothing
        arguments = [Comparison(one["index"], OPERATORS[one["op"]], one["value"], one.get("valueTwo", 0))
                     for one in rule.get("args") or []]
        for name in rule["names"]:
            number = library.seccomp_syscall_resolve_name(name.encode())
            # Of another processor, or newer than this libseccomp: engines leave it out, too.
            if number < 0:
                continue
            array = (Comparison * len(arguments))(*arguments)
            error = library.seccomp_rule_add_array(context, wanted, number, len(arguments), array)
            if error:
                raise OSError(-error, f"{name}: {os.strerror(-error)}")
    with tempfile.TemporaryFile() as file:
        error = library.seccomp_export_bpf(context, file.fileno())
        if error:
            raise OSError(-error, os.strerror(-error))
        file.seek(0)
        return file.read()


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def without_io_uring(profile, errno):
    """What the engine had before: unknown calls fail with `errno` (podman, CRI-O: ENOSYS; Docker, containerd: EPERM)."""
    rules = [rule for rule in profile["syscalls"] if "io_uring_setup" not in rule["names"]]
    return {**profile, "syscalls": rules, "defaultErrnoRet": errno}
