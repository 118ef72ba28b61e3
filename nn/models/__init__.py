"""Networks of the papers in plain torch; ``nn.share`` takes them as it takes any other."""

from nn.models.decoder import Decoder
from nn.models.resnet import ResNet, resnet8, resnet18, resnet20, resnet32, resnet44, resnet56
from nn.models.vgg import VGG, vgg11, vgg13, vgg16
from nn.models.vit import ViT

__all__ = [
    "VGG",
    "Decoder",
    "ResNet",
    "ViT",
    "resnet8",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
    "vgg11",
    "vgg13",
    "vgg16",
]
