"""The instruction set that Numba compiles for, and the sizes of register and tile that suit it."""

from typing import NamedTuple

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import config


class InstructionSet(NamedTuple):
    """Sizes for one instruction set. `rows` divides the lanes of float64, which the gradient's tiles need."""

    name: str
    register_bytes: int
    rows: int
    panels: int


# A tile holds rows x panels registers of sums; they, `panels` operands and one broadcast must fit into the register
# file.
AVX512 = InstructionSet("AVX-512", 64, 8, 3)
AVX2 = InstructionSet("AVX2", 32, 4, 3)
NEON = InstructionSet("NEON", 32, 4, 3)  # one of ours is two of its 128-bit registers, and it has 32 of those
BASELINE = InstructionSet("baseline", 32, 4, 1)  # SSE2 and others: two registers as well, of only 16


def _features() -> dict[str, bool]:
    """Return the features of the machine that Numba compiles for: the host, or what NUMBA_CPU_NAME says."""
    if config.CPU_NAME is None:
        return dict(llvm.get_host_cpu_features())
    # LLVM has no call for the features of a named processor: see which instructions it chooses for a vector product
    module = ir.Module()
    vector = ir.VectorType(ir.FloatType(), 16)
    function = ir.Function(module, ir.FunctionType(vector, [vector] * 3), "product")
    builder = ir.IRBuilder(function.append_basic_block())
    fma = ir.Function(module, ir.FunctionType(vector, [vector] * 3), "llvm.fma.v16f32")
    builder.ret(builder.call(fma, function.args))
    llvm.initialize_native_target()  # as Numba does, later
    llvm.initialize_native_asmprinter()
    triple = llvm.get_process_triple()
    machine = llvm.Target.from_triple(triple).create_target_machine(
        cpu=config.CPU_NAME, features=config.CPU_FEATURES or ""
    )
    text = machine.emit_assembly(llvm.parse_assembly(str(module)))
    return {"avx512f": "zmm" in text, "avx2": "ymm" in text, "fma": "vfmadd" in text, "neon": "fmla" in text}


def detect() -> InstructionSet:
    """Return the best instruction set that Numba's code may use here."""
    features = _features()
    if features.get("avx512f"):
        return AVX512
    if features.get("avx2") and features.get("fma"):
        return AVX2
    if features.get("neon") or features.get("asimd"):
        return NEON
    return BASELINE


INSTRUCTION_SET = detect()
ROWS = INSTRUCTION_SET.rows
PANELS = INSTRUCTION_SET.panels
TAIL_UNITS = 4  # outputs beyond the whole registers that are summed at once, along the inputs
