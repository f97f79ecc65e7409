"""The table of the zoo: every model that penjing must handle with no hint given."""

from __future__ import annotations

import torch

from tests.zoo.entry import Entry
from tests.zoo.models import (
    autoencoder,
    bilinear,
    channel_attention,
    conv1d,
    conv3d,
    convnext,
    dcgan,
    deeplab,
    densenet,
    depthwise,
    discrete,
    early_exit,
    efficientnet,
    einsum_attention,
    fpn,
    gated,
    ghostnet,
    gpt,
    hourglass,
    hrnet,
    inception,
    maxvit,
    mlp,
    mlp_mixer,
    mobilenet,
    modulated,
    moe,
    multi_output,
    pointnet,
    recurrent,
    regnet,
    repvgg,
    res2net,
    resnet,
    sampling,
    shufflenet,
    siamese,
    squeezenet,
    ssm,
    style_transfer,
    super_resolution,
    swin,
    tcn,
    transformer,
    unet,
    vgg,
    vit,
    wavenet,
    yolo,
)
from tests.zoo.models.hf import HF_ENTRIES
from tests.zoo.seeding import randn, seeded, tokens


def _image(size: int = 32, channels: int = 3) -> tuple[torch.Tensor, ...]:
    return (randn(2, channels, size, size),)


def _two_images() -> tuple[torch.Tensor, ...]:
    return randn(2, 3, 16, 16), randn(2, 3, 16, 16, seed=1)


def _padded() -> tuple[torch.Tensor, ...]:
    ids = tokens(2, 11, vocabulary=99) + 1
    ids[1, 8:] = 0
    return (ids,)


def _captioned() -> tuple[torch.Tensor, ...]:
    return randn(2, 3, 32, 32), tokens(2, 7, vocabulary=60)


def _pair(vocabulary: int) -> tuple[torch.Tensor, ...]:
    return tokens(2, 9, vocabulary=vocabulary), tokens(2, 7, vocabulary=vocabulary, seed=1)


def _users_and_items() -> tuple[torch.Tensor, ...]:
    return tokens(4, vocabulary=50), randn(4, 4), tokens(4, vocabulary=80, seed=1), randn(4, 4, seed=1)


def _clicks() -> tuple[torch.Tensor, ...]:
    return randn(4, 5), tokens(4, 3, vocabulary=30), tokens(4, 2, vocabulary=40, seed=1)


def _graph() -> tuple[torch.Tensor, ...]:
    edges = tokens(2, 12, vocabulary=6)
    adjacency = torch.eye(6)
    adjacency[edges[0], edges[1]] = 1.0
    return randn(6, 6), adjacency, edges


CONVOLUTIONAL: tuple[Entry, ...] = (
    Entry("resnet_basic", seeded(resnet.resnet_basic), _image),
    Entry("resnet_bottleneck", seeded(resnet.resnet_bottleneck), _image),
    Entry("resnext", seeded(resnet.resnext), _image),
    Entry("resnet_groupnorm", seeded(resnet.resnet_groupnorm), _image),
    Entry("resnet_frozen_bn", seeded(resnet.resnet_frozen_bn), _image),
    Entry("resnet_zero_pad_shortcut", seeded(resnet.resnet_zero_pad_shortcut), _image),
    Entry("densenet", seeded(densenet.densenet), _image),
    Entry("mobilenet_v2", seeded(mobilenet.mobilenet_v2), _image),
    Entry("mobilenet_v3", seeded(mobilenet.mobilenet_v3), _image),
    Entry("shufflenet_v1", seeded(shufflenet.shufflenet_v1), _image),
    Entry("shufflenet_v2", seeded(shufflenet.shufflenet_v2), _image),
    Entry("inception", seeded(inception.inception), _image),
    Entry("efficientnet", seeded(efficientnet.efficientnet), _image),
    Entry("efficientnet_v2", seeded(efficientnet.efficientnet_v2), _image),
    Entry("convnext", seeded(convnext.convnext), _image),
    Entry("convnext_v2", seeded(convnext.convnext_v2), _image),
    Entry("regnet", seeded(regnet.regnet), _image),
    Entry("ghostnet", seeded(ghostnet.ghostnet), _image),
    Entry("ghostnet_ratio_three", seeded(ghostnet.ghostnet_ratio_three), _image),
    Entry("repvgg", seeded(repvgg.repvgg), _image),
    Entry("hrnet", seeded(hrnet.hrnet), _image),
    Entry("res2net", seeded(res2net.res2net), _image),
    Entry("yolo", seeded(yolo.yolo), _image),
    Entry("unet", seeded(unet.unet), _image),
    Entry("unet_bilinear", seeded(unet.unet_bilinear), _image),
    Entry("unet_diffusion", seeded(unet.unet_diffusion), lambda: (randn(2, 3, 16, 16), randn(2).abs() * 100)),
    Entry("fpn", seeded(fpn.fpn), _image),
    Entry("bifpn", seeded(fpn.bifpn), _image),
    Entry("deeplab", seeded(deeplab.deeplab), _image),
    Entry("espcn", seeded(super_resolution.espcn), lambda: _image(16, 1)),
    Entry("edsr", seeded(super_resolution.edsr), lambda: _image(12)),
    Entry("dcgan_generator", seeded(dcgan.dcgan_generator), lambda: (randn(2, 16),)),
    Entry("dcgan_discriminator", seeded(dcgan.dcgan_discriminator), _image),
    Entry("alexnet", seeded(vgg.alexnet), _image),
    Entry("vgg", seeded(vgg.vgg), _image),
    Entry("squeezenet", seeded(squeezenet.squeezenet), _image),
    Entry("xception", seeded(depthwise.xception), _image),
    Entry("cbam", seeded(channel_attention.cbam), _image),
    Entry("eca", seeded(channel_attention.eca), _image),
    Entry("selective_kernel", seeded(channel_attention.selective_kernel), _image),
    Entry("non_local", seeded(channel_attention.non_local), _image),
    Entry("bilinear_cnn", seeded(bilinear.bilinear_cnn), _image),
    Entry("hourglass", seeded(hourglass.hourglass), _image),
)

SIGNALS: tuple[Entry, ...] = (
    Entry("wavenet", seeded(wavenet.wavenet), lambda: (randn(2, 1, 32), randn(2, 8, 8, seed=1))),
    Entry("tcn", seeded(tcn.tcn), lambda: (randn(2, 3, 20),)),
    Entry("keyword_spotter", seeded(conv1d.keyword_spotter), lambda: (randn(2, 1, 256),)),
    Entry("conv_tasnet", seeded(conv1d.conv_tasnet), lambda: (randn(2, 1, 128),)),
    Entry("eegnet", seeded(depthwise.eegnet), lambda: (randn(2, 1, 8, 64),)),
    Entry("video_resnet", seeded(conv3d.video_resnet), lambda: (randn(2, 3, 4, 24, 24),)),
    Entry("vnet", seeded(conv3d.vnet), lambda: (randn(2, 1, 8, 8, 8),)),
    Entry("pointnet", seeded(pointnet.pointnet), lambda: (randn(2, 3, 24),)),
    Entry("crnn", seeded(recurrent.crnn), lambda: (randn(2, 1, 16, 32),)),
    Entry("conformer", seeded(transformer.conformer), lambda: (randn(2, 24, 16),)),
    Entry("lstm_projected", seeded(recurrent.lstm_projected), lambda: (randn(7, 2, 8),), onnx=False),
    Entry("recurrent_cells", seeded(recurrent.recurrent_cells), lambda: (randn(2, 5, 6),)),
)

TRANSFORMERS: tuple[Entry, ...] = (
    Entry("mlp_mixer", seeded(mlp_mixer.mlp_mixer), _image),
    Entry("res_mlp", seeded(mlp_mixer.res_mlp), _image),
    Entry("vit", seeded(vit.vit), _image),
    Entry("vit_manual_attention", seeded(vit.vit_manual_attention), _image),
    Entry("vit_registers", seeded(vit.vit_registers), _image),
    Entry("swin", seeded(swin.swin), _image),
    Entry("maxvit", seeded(maxvit.maxvit), _image),
    Entry("einsum_attention", seeded(einsum_attention.einsum_attention), lambda: (randn(2, 9, 6),)),
    Entry("transformer_encoder", seeded(transformer.transformer_encoder), _padded),
    Entry("transformer_encoder_norm_first", seeded(transformer.transformer_encoder_norm_first), _padded),
    Entry("transformer_decoder", seeded(transformer.transformer_decoder), _captioned),
    Entry(
        "transformer_decoder_mask_inspected",
        seeded(transformer.transformer_decoder_mask_inspected),
        _captioned,
        refused=True,
        onnx=False,
    ),
    Entry("transformer_seq2seq", seeded(transformer.transformer_seq2seq), lambda: _pair(80)),
    Entry("gpt", seeded(gpt.gpt), lambda: (tokens(2, 12, vocabulary=96),)),
    Entry("mini_llama", seeded(gpt.mini_llama), lambda: (tokens(2, 10, vocabulary=96),)),
    Entry("universal_transformer", seeded(mlp.universal_transformer), lambda: (tokens(2, 8, vocabulary=70),)),
    Entry("gmlp", seeded(gated.gmlp), lambda: (tokens(2, 10, vocabulary=64),)),
    Entry("moe_dense", seeded(moe.moe_dense), lambda: (randn(2, 6, 5),)),
    Entry("selective_scan", seeded(ssm.selective_scan), lambda: (tokens(2, 6, vocabulary=64),)),
    Entry("lstm_classifier", seeded(recurrent.lstm_classifier), lambda: (tokens(2, 9, vocabulary=100),)),
    Entry("gru_seq2seq", seeded(recurrent.gru_seq2seq), lambda: _pair(60)),
)

OTHERS: tuple[Entry, ...] = (
    Entry("siamese", seeded(siamese.siamese), lambda: (randn(2, 1, 30, 30), randn(2, 1, 30, 30, seed=1))),
    Entry("two_tower", seeded(siamese.two_tower), _users_and_items),
    Entry("dlrm", seeded(siamese.dlrm), _clicks),
    Entry("autoencoder_tied", seeded(autoencoder.autoencoder_tied), lambda: (randn(4, 64),)),
    Entry("vae", seeded(autoencoder.vae), lambda: _image(16, 1)),
    Entry(
        "fusion_dict",
        seeded(multi_output.fusion_dict),
        lambda: {"image": _image()[0], "sensors": randn(2, 7)},
    ),
    Entry("multi_task_dataclass", seeded(multi_output.multi_task_dataclass), _image),
    Entry(
        "regressor_plain_dataclass",
        seeded(multi_output.regressor_plain_dataclass),
        lambda: (randn(4, 9),),
        refused=True,
        onnx=False,
    ),
    Entry("gated_conv", seeded(gated.gated_conv), lambda: (randn(2, 8, 6),)),
    Entry("highway", seeded(gated.highway), lambda: (randn(4, 10),)),
    Entry("coupling_flow", seeded(gated.coupling_flow), lambda: (randn(4, 6),)),
    Entry("bilinear", seeded(bilinear.bilinear), lambda: (randn(2, 5, 12),)),
    Entry("deep_sets", seeded(bilinear.deep_sets), lambda: (randn(2, 7, 4),)),
    Entry("style_transfer", seeded(style_transfer.style_transfer), _two_images),
    Entry("unrolled_denoiser", seeded(style_transfer.unrolled_denoiser), lambda: _image(16, 1)),
    Entry("tabular", seeded(mlp.tabular), lambda: (tokens(4, 3, vocabulary=5), randn(4, 4))),
    Entry("nerf", seeded(mlp.nerf), lambda: (randn(2, 5, 3), randn(2, 5, 3, seed=1))),
    Entry("actor_critic", seeded(mlp.actor_critic), lambda: (tokens(2, 4, 18, 18, vocabulary=256).byte(),)),
    Entry("spatial_transformer", seeded(sampling.spatial_transformer), lambda: _image(16, 1)),
    Entry("segnet", seeded(sampling.segnet), lambda: _image(16)),
    Entry("involution", seeded(sampling.involution), lambda: _image(16)),
    Entry("cond_conv", seeded(modulated.cond_conv), lambda: _image(16)),
    Entry("style_generator", seeded(modulated.style_generator), lambda: (randn(2, 12),)),
    Entry(
        "spectral_critic", seeded(modulated.spectral_critic), lambda: (*_image(16), tokens(2, vocabulary=6))
    ),
    Entry("standardised", seeded(modulated.standardised), lambda: _image(16)),
    Entry("vq_vae", seeded(discrete.vq_vae), lambda: _image(16, 1)),
    Entry("ranker", seeded(discrete.ranker), lambda: (randn(2, 9, 6),)),
    Entry("fnet", seeded(discrete.fnet), lambda: (tokens(2, 8, vocabulary=50),)),
    Entry("capsules", seeded(discrete.capsules), lambda: _image(17, 1)),
    Entry("graph_net", seeded(pointnet.graph_net), _graph),
    Entry("early_exit", seeded(early_exit.early_exit), _image, refused=True, onnx=False),
)

ENTRIES: tuple[Entry, ...] = CONVOLUTIONAL + SIGNALS + TRANSFORMERS + OTHERS + HF_ENTRIES
