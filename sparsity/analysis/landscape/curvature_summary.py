"""All numbers of curvature and trainability of one network, as `analyze` writes them."""

from dataclasses import dataclass

from torch import Tensor, nn

from sparsity.analysis.landscape.curvature import gradient_norm, hessian_eigenvalues, hessian_trace, sharpness
from sparsity.analysis.landscape.trainability import TooManyDerivativesError, isometry, tangent_kernel


@dataclass(frozen=True)
class Curvature:
    """Of the loss around one network, and of its derivatives.

    Args:
        gradient_norm: See `gradient_norm`.
        hessian_top: The Hessian's largest eigenvalue.
        hessian_trace: See `hessian_trace`.
        hessian_trace_error: Its standard error.
        sharpness: See `sharpness`, one step of 0.05.
        tangent_trace: See `TangentKernel`; None where it has no room.
        tangent_condition: Likewise.
        jacobian_mean: See `Isometry`; None where images have no derivatives.
        jacobian_std: Likewise.
        jacobian_condition: Likewise.
    """

    gradient_norm: float
    hessian_top: float
    hessian_trace: float
    hessian_trace_error: float
    sharpness: float
    tangent_trace: float | None
    tangent_condition: float | None
    jacobian_mean: float | None
    jacobian_std: float | None
    jacobian_condition: float | None


def curvature(network: nn.Module, images: Tensor, labels: Tensor, samples: int = 16) -> Curvature:
    """Look at the loss on some images, and at the derivatives of the outputs on the first of them.

    Args:
        network: A classifier; left unchanged. It is looked at in evaluation mode.
        images: `[n, *input_shape]`.
        labels: `[n]`, class indices.
        samples: On how many images tangent kernel and Jacobian are taken.

    Raises:
        SparsityError: As the functions of the single numbers.
        NonFiniteError: Likewise.
    """
    trace = hessian_trace(network, images, labels)
    try:
        kernel = tangent_kernel(network, images[:samples])
    except TooManyDerivativesError:
        kernel = None
    jacobian = isometry(network, images[:samples]) if images.is_floating_point() else None
    return Curvature(
        gradient_norm=gradient_norm(network, images, labels),
        hessian_top=float(hessian_eigenvalues(network, images, labels)[0]),
        hessian_trace=trace.mean,
        hessian_trace_error=trace.standard_error,
        sharpness=sharpness(network, images, labels),
        tangent_trace=None if kernel is None else kernel.trace,
        tangent_condition=None if kernel is None else kernel.condition,
        jacobian_mean=None if jacobian is None else jacobian.mean,
        jacobian_std=None if jacobian is None else jacobian.std,
        jacobian_condition=None if jacobian is None else jacobian.condition,
    )
