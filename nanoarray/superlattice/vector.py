"""Short vector operations that numba does not vectorize itself.

A loop of a few constant steps is unrolled into scalar instructions before LLVM's vectorizer sees
it. Written as one operation on a vector type it becomes one instruction per register width, on any
processor.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.extending import intrinsic

RUN = 8


@intrinsic
def subtract_run(
    typing_context: Any, target: Any, at: Any, source: Any, high: Any, low: Any
) -> Any:
    """``target[at : at + RUN] = source[high : high + RUN] - source[low : low + RUN]``.

    Both arrays are contiguous, one-dimensional and float32. Indices are not checked and do not
    wrap: the caller answers for them.
    """
    del typing_context
    for array in (target, source):
        if not (
            isinstance(array, types.Array)
            and array.ndim == 1
            and array.layout == "C"
            and array.dtype == types.float32
        ):
            raise TypingError("subtract_run needs contiguous 1-D float32 arrays")
    vector = ir.VectorType(ir.FloatType(), RUN)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target_type, at_type, source_type, high_type, low_type = signature.args
        target_data = cgutils.create_struct_proxy(target_type)(
            context, builder, value=arguments[0]
        ).data
        source_data = cgutils.create_struct_proxy(source_type)(
            context, builder, value=arguments[2]
        ).data

        def pointer(data: Any, index: Any, index_type: Any) -> Any:
            offset = context.cast(builder, index, index_type, types.intp)
            return builder.bitcast(builder.gep(data, [offset]), vector.as_pointer())

        minuend = builder.load(pointer(source_data, arguments[3], high_type), align=4)
        subtrahend = builder.load(pointer(source_data, arguments[4], low_type), align=4)
        difference = builder.fsub(minuend, subtrahend)
        builder.store(difference, pointer(target_data, arguments[1], at_type), align=4)
        return context.get_dummy_value()

    return types.none(target, at, source, high, low), generate
