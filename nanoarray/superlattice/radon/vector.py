"""Short vector operations that numba does not vectorize itself.

A loop of a few constant steps is unrolled into scalar instructions before LLVM's vectorizer sees
it. Written as operations on a vector type it becomes one instruction per register width, on any
processor. Indices are not checked and do not wrap: the callers answer for them.
"""

from __future__ import annotations

from typing import Any, Final

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.extending import intrinsic

RUN: Final = 8
WIDE_RUN: Final = 48
_WIDE_PART: Final = 16


def _need_vectors(dtype: Any, *arrays: Any) -> None:
    for array in arrays:
        if not (
            isinstance(array, types.Array)
            and array.ndim == 1
            and array.layout == "C"
            and array.dtype == dtype
        ):
            raise TypingError(f"needs contiguous one-dimensional arrays of {dtype}, got {array}")


def _data(context: Any, builder: Any, array_type: Any, array: Any) -> Any:
    return cgutils.create_struct_proxy(array_type)(context, builder, value=array).data


@intrinsic
def subtract_run(
    typing_context: Any, target: Any, at: Any, source: Any, high: Any, low: Any
) -> Any:
    """``target[at : at + RUN] = source[high : high + RUN] - source[low : low + RUN]``.

    Both arrays are contiguous, one-dimensional and float32.
    """
    del typing_context
    _need_vectors(types.float32, target, source)
    vector = ir.VectorType(ir.FloatType(), RUN)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target_data = _data(context, builder, signature.args[0], arguments[0])
        source_data = _data(context, builder, signature.args[2], arguments[2])

        def pointer(data: Any, position: int) -> Any:
            index = context.cast(builder, arguments[position], signature.args[position], types.intp)
            return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())

        minuend = builder.load(pointer(source_data, 3), align=4)
        subtrahend = builder.load(pointer(source_data, 4), align=4)
        difference = builder.fsub(minuend, subtrahend)
        builder.store(difference, pointer(target_data, 1), align=4)
        return context.get_dummy_value()

    return types.none(target, at, source, high, low), generate


@intrinsic
def weighted_runs(
    typing_context: Any,
    target: Any,
    at: Any,
    source: Any,
    base: Any,
    offsets: Any,
    weights: Any,
    low: Any,
    high: Any,
) -> Any:
    """``target[at:][:WIDE_RUN] += sum of weights[e] * source[base + offsets[e] :][:WIDE_RUN]``.

    The sum is over ``low <= e < high`` and stays in registers. `target`, `source` and `weights` are
    contiguous float32, `offsets` contiguous int32; the other arguments are int64.
    """
    del typing_context
    _need_vectors(types.float32, target, source, weights)
    _need_vectors(types.int32, offsets)
    vector = ir.VectorType(ir.FloatType(), _WIDE_PART)
    parts = WIDE_RUN // _WIDE_PART

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target_data, source_data, offset_data, weight_data = (
            _data(context, builder, signature.args[i], arguments[i]) for i in (0, 2, 4, 5)
        )
        start = builder.gep(source_data, [arguments[3]])
        undefined = ir.Constant(vector, ir.Undefined)
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), _WIDE_PART), [0] * _WIDE_PART)
        places = []
        for part in range(parts):
            index = builder.add(arguments[1], ir.Constant(ir.IntType(64), part * _WIDE_PART))
            places.append(builder.bitcast(builder.gep(target_data, [index]), vector.as_pointer()))
        sums = []
        for place in places:
            sums.append(cgutils.alloca_once(builder, vector))
            builder.store(builder.load(place, align=4), sums[-1])
        with cgutils.for_range_slice(
            builder, arguments[6], arguments[7], ir.Constant(ir.IntType(64), 1)
        ) as (entry, _):
            offset = builder.sext(builder.load(builder.gep(offset_data, [entry])), ir.IntType(64))
            weight = builder.load(builder.gep(weight_data, [entry]))
            single = builder.insert_element(undefined, weight, ir.Constant(ir.IntType(32), 0))
            spread = builder.shuffle_vector(single, undefined, lanes)
            here = builder.gep(start, [offset])
            for part, total in enumerate(sums):
                place = builder.gep(here, [ir.Constant(ir.IntType(64), part * _WIDE_PART)])
                run = builder.load(builder.bitcast(place, vector.as_pointer()), align=4)
                product = builder.fmul(spread, run, flags=("contract",))
                builder.store(
                    builder.fadd(builder.load(total), product, flags=("contract",)), total
                )
        for place, total in zip(places, sums, strict=True):
            builder.store(builder.load(total), place, align=4)
        return context.get_dummy_value()

    return types.none(target, at, source, base, offsets, weights, low, high), generate
