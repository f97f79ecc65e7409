"""The table of rules: one small pure function per operator family, by operator name without overload."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import cast

from penjing.network.op import Rule
from penjing.network.rules import (
    attention,
    contraction,
    convolution,
    elementwise,
    factory,
    joining,
    lookup,
    normalisation,
    recurrent,
    reduction,
    reshaping,
    slicing,
    spatial,
)

_FAMILIES: tuple[tuple[Rule, str], ...] = (
    (contraction.linear, "linear"),
    (contraction.matmul, "matmul mm bmm mv dot vdot inner"),
    (contraction.addmm, "addmm baddbmm addmv"),
    (contraction.addbmm, "addbmm"),
    (contraction.outer, "outer ger"),
    (contraction.bilinear, "bilinear"),
    (contraction.einsum, "einsum"),
    (contraction.cdist, "cdist _euclidean_dist"),
    (contraction.cosine_similarity, "cosine_similarity"),
    (convolution.convolution, "conv1d conv2d conv3d convolution _convolution"),
    (convolution.transposed_convolution, "conv_transpose1d conv_transpose2d conv_transpose3d"),
    (elementwise.copy, "copy"),
    (elementwise.prelu, "prelu _prelu_kernel"),
    (elementwise.glu, "glu"),
    (elementwise.nothing, "_assert_tensor_metadata _assert_async _assert_scalar sym_size is_nonzero"),
    (normalisation.batch_norm, "batch_norm instance_norm native_batch_norm _native_batch_norm_legit_no_training"),
    (normalisation.batch_norm, "_native_batch_norm_legit cudnn_batch_norm"),
    (normalisation.layer_norm, "layer_norm native_layer_norm rms_norm _fused_rms_norm"),
    (normalisation.group_norm, "group_norm native_group_norm"),
    (normalisation.weight_norm, "_weight_norm _weight_norm_interface"),
    (normalisation.softmax, "softmax log_softmax _softmax _log_softmax _safe_softmax softmin"),
    (reshaping.view, "view reshape _unsafe_view _reshape_alias"),
    (reshaping.flatten, "flatten squeeze unsqueeze ravel atleast_1d atleast_2d atleast_3d view_as reshape_as"),
    (reshaping.unflatten, "unflatten"),
    (reshaping.permute, "permute"),
    (reshaping.transpose, "transpose t swapaxes swapdims"),
    (reshaping.reverse_dims, "numpy_T mT mH adjoint"),
    (reshaping.movedim, "movedim moveaxis"),
    (reshaping.expand, "expand broadcast_to expand_as"),
    (reshaping.repeat, "repeat tile"),
    (reshaping.repeat_interleave, "repeat_interleave"),
    (reshaping.meshgrid, "meshgrid"),
    (joining.cat, "cat concat concatenate"),
    (joining.stack, "stack"),
    (joining.stack_along, "hstack vstack dstack"),
    (joining.split, "split split_with_sizes chunk tensor_split unsafe_chunk unsafe_split unsafe_split_with_sizes"),
    (joining.unbind, "unbind"),
    (slicing.slice_, "slice"),
    (slicing.narrow, "narrow"),
    (slicing.select, "select"),
    (slicing.index, "index index_put"),
    (slicing.index_select, "index_select"),
    (slicing.gather, "gather scatter scatter_add scatter_reduce index_add index_copy index_fill take_along_dim"),
    (slicing.roll, "roll"),
    (slicing.flip, "flip"),
    (spatial.grid_sample, "grid_sampler grid_sampler_2d grid_sampler_3d"),
    (spatial.pad, "pad constant_pad_nd"),
    (spatial.pad_edges, "reflection_pad1d reflection_pad2d reflection_pad3d"),
    (spatial.pad_edges, "replication_pad1d replication_pad2d replication_pad3d"),
    (spatial.pixel_shuffle, "pixel_shuffle"),
    (spatial.pixel_unshuffle, "pixel_unshuffle"),
    (spatial.channel_shuffle, "channel_shuffle native_channel_shuffle"),
    (spatial.im2col, "im2col"),
    (spatial.col2im, "col2im"),
    (spatial.unfold, "unfold"),
    (reduction.reduce, "sum mean var std var_mean std_mean amax amin prod logsumexp norm all any nansum nanmean"),
    (reduction.reduce, "linalg_vector_norm frobenius_norm count_nonzero aminmax"),
    (reduction.scan, "cumsum cumprod logcumsumexp cummax cummin"),
    (reduction.order, "topk sort argsort argmax argmin median mode kthvalue msort"),
    (reduction.extreme, "max min"),
    (reduction.triangle, "tril triu"),
    (reduction.fixed, "diagonal diag diag_embed trace fft_fft fft_ifft fft_rfft fft_irfft fft_fft2 fft_rfft2 fft_irfft2"),
    (reduction.one_hot, "one_hot"),
    (reduction.last_pair, "view_as_complex view_as_real"),
    (attention.scaled_dot_product_attention, "scaled_dot_product_attention"),
    (attention.scaled_dot_product_attention, "_scaled_dot_product_flash_attention_for_cpu"),
    (recurrent.recurrent, "lstm gru rnn_tanh rnn_relu"),
    (recurrent.cell, "lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell"),
    (lookup.embedding, "embedding"),
    (lookup.embedding_bag, "embedding_bag _embedding_bag _embedding_bag_forward_only"),
    (factory.constructor, "zeros ones full empty rand randn empty_strided new_zeros new_ones new_full new_empty"),
    (factory.counter, "arange linspace logspace eye tril_indices triu_indices randint randperm scalar_tensor hann_window"),
    *(
        (cast(Rule, spatial.pool(rank)), names)
        for rank, names in (
            (1, "max_pool1d avg_pool1d adaptive_avg_pool1d adaptive_max_pool1d max_pool1d_with_indices lp_pool1d"),
            (1, "upsample_nearest1d upsample_linear1d _upsample_nearest_exact1d"),
            (2, "max_pool2d avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d max_pool2d_with_indices"),
            (2, "_adaptive_avg_pool2d upsample_nearest2d upsample_bilinear2d upsample_bicubic2d max_unpool2d"),
            (2, "_upsample_nearest_exact2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa fractional_max_pool2d"),
            (3, "max_pool3d avg_pool3d adaptive_avg_pool3d adaptive_max_pool3d max_pool3d_with_indices"),
            (3, "_adaptive_avg_pool3d upsample_nearest3d upsample_trilinear3d _upsample_nearest_exact3d"),
        )
    ),
    (elementwise.first, " ".join(dict.fromkeys(elementwise.FIRST_ONLY))),
    (elementwise.broadcast, " ".join(n for n in dict.fromkeys(elementwise.POINTWISE) if n not in elementwise.FIRST_ONLY)),
)


def _table(families: Iterable[tuple[Rule, str]]) -> Iterator[tuple[str, Rule]]:
    seen: set[str] = set()
    for rule, names in families:
        for name in names.split():
            assert name not in seen, f"two rules for {name}"
            seen.add(name)
            yield f"aten.{name}", rule


RULES: Mapping[str, Rule] = MappingProxyType(dict(_table(_FAMILIES)))
