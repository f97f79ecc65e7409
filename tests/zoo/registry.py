"""The table of the zoo: every model that penjing must handle with no hint given."""

from __future__ import annotations

from tests.zoo.entry import Entry
from tests.zoo.models import (
    convnext,
    dcgan,
    deeplab,
    densenet,
    efficientnet,
    fpn,
    ghostnet,
    hrnet,
    inception,
    mobilenet,
    regnet,
    repvgg,
    res2net,
    resnet,
    shufflenet,
    super_resolution,
    unet,
    yolo,
)
from tests.zoo.seeding import randn, seeded


def _image(size: int = 32, channels: int = 3) -> tuple:
    return (randn(2, channels, size, size),)


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
)

ENTRIES: tuple[Entry, ...] = CONVOLUTIONAL
