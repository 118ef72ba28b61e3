"""The networks of the paper: their sizes, their shapes, their inits."""

import pytest
import torch
import torch.nn as tnn

import nn
from nn.models import VGG, ResNet, resnet20, resnet32, resnet44, resnet56, vgg11, vgg13, vgg16
from rpstheory.errors import ArgumentError

DEPTHS = {resnet20: 20, resnet32: 32, resnet44: 44, resnet56: 56, vgg11: 11, vgg13: 13, vgg16: 16}
SMALL = {resnet20: {"widths": (4, 8, 16)}, vgg11: {"width": 4}, vgg13: {"width": 4}, vgg16: {"width": 4}}


def counts(model):
    """(compressible, all) parameters."""
    weights = [m.weight.numel() for m in model.modules() if isinstance(m, tnn.Conv2d | tnn.Linear)]
    return sum(weights), sum(p.numel() for p in model.parameters())


def resnet_counts(depth, widths, classes, shortcut):
    """The same from the description in the paper."""
    first, _, last = widths
    compressible, norms = 27 * first + last * classes, 2 * first
    before = first
    for stage, after in enumerate(widths):
        for place in range((depth - 2) // 6):
            compressible += 9 * before * after + 9 * after * after
            norms += 4 * after
            if shortcut == "projection" and (before != after or (stage and not place)):
                compressible += before * after
                norms += 2 * after
            before = after
    return compressible, compressible + norms + classes


def test_resnet20_has_the_parameters_of_the_protocol():
    assert counts(resnet20()) == (270_896, 272_474)


def test_vgg11_has_the_parameters_of_the_protocol():
    assert counts(vgg11()) == (9_222_848, 9_231_114)


@pytest.mark.parametrize("make", [resnet20, resnet32, resnet44, resnet56])
@pytest.mark.parametrize("shortcut", ["projection", "identity"])
@pytest.mark.parametrize("widths", [(16, 32, 64), (2, 2, 5)])
def test_residual_networks_have_the_layers_of_their_depth(make, shortcut, widths):
    model = make(7, widths=widths, shortcut=shortcut)
    assert counts(model) == resnet_counts(DEPTHS[make], widths, 7, shortcut)
    deep = [m for m in model.modules() if isinstance(m, tnn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(deep) + 1 == DEPTHS[make]


@pytest.mark.parametrize(("make", "convolutions"), [(vgg11, 8), (vgg13, 10), (vgg16, 13)])
def test_vgg_networks_have_the_convolutions_of_their_depth(make, convolutions):
    model = make(100, width=2)
    found = [m for m in model.modules() if isinstance(m, tnn.Conv2d)]
    assert len(found) == convolutions == DEPTHS[make] - 3  # one linear layer in the place of three
    assert all(m.bias is not None and m.kernel_size == (3, 3) for m in found)
    assert model.fc.weight.shape == (100, 16)


@pytest.mark.parametrize("make", SMALL)
@pytest.mark.parametrize("size", [32, 64])
def test_images_become_logits(make, size):
    assert make(5, **SMALL[make])(torch.randn(2, 3, size, size)).shape == (2, 5)


@pytest.mark.parametrize("make", SMALL)
def test_channels_last_gives_the_same_and_stays(make):
    torch.manual_seed(0)
    model = make(5, channels=4, **SMALL[make]).double().eval()
    x = torch.randn(2, 4, 32, 32, dtype=torch.float64)
    expected = model(x)
    model = model.to(memory_format=torch.channels_last)
    seen = []
    last = [m for m in model.modules() if isinstance(m, tnn.BatchNorm2d)][-1]
    last.register_forward_hook(lambda module, given, out: seen.append(out))
    # sums of fewer than 2^9 terms in another order: some 2^9 roundings in each of some 20 layers
    assert torch.allclose(model(x.to(memory_format=torch.channels_last)), expected, rtol=1e-9, atol=1e-9)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


def test_an_identity_shortcut_takes_every_second_pixel_and_adds_zeros():
    block = ResNet(8, widths=(2, 4, 8), shortcut="identity").blocks[1]
    tnn.init.zeros_(block.bn2.weight)
    x = torch.arange(1, 2 * 5 * 5 + 1).reshape(1, 2, 5, 5).float()
    out = block(x)
    assert torch.equal(out[:, :2], x[:, :, ::2, ::2])
    assert out.shape == (1, 4, 3, 3)
    assert not out[:, 2:].any()


def test_a_network_of_dead_branches_is_its_shortcuts():
    model = ResNet(14, widths=(3, 3, 3), shortcut="identity").eval()
    for block in model.blocks:
        tnn.init.zeros_(block.bn2.weight)
    stem = torch.rand(2, 3, 32, 32)
    assert torch.equal(model.blocks(stem), stem[:, :, ::4, ::4])


def test_weights_are_kaiming_normal_and_norms_as_in_the_protocol():
    torch.manual_seed(0)
    for model in (resnet20(), vgg11(width=32)):
        for module in model.modules():
            if isinstance(module, tnn.Conv2d | tnn.Linear):
                w = module.weight.detach().double()
                squares = (
                    w.square() * w[0].numel() / 2
                )  # variance 2 / fan-in; chi-squared of mean 1, variance 2
                assert abs(squares.mean() - 1) < 5 * (2 / w.numel()) ** 0.5
    scales = torch.cat([m.weight for m in resnet20().modules() if isinstance(m, tnn.BatchNorm2d)]).detach()
    assert scales.min() >= 0
    assert scales.max() <= 1
    assert abs(scales.mean() - 0.5) < 5 * (1 / 12 / len(scales)) ** 0.5
    vgg = vgg11(width=2)
    assert all((m.weight == 1).all() for m in vgg.modules() if isinstance(m, tnn.BatchNorm2d))
    assert not any(p.any() for name, p in vgg.named_parameters() if name.endswith("bias"))


def test_a_seed_gives_the_same_network_again():
    def drawn():
        torch.manual_seed(3)
        return [p.sum().item() for p in (*resnet20().parameters(), *vgg11(width=4).parameters())]

    assert drawn() == drawn()


def test_names_of_parameters_stay_so_that_old_files_load():
    names = [name for name, _ in ResNet(8, widths=(1, 1, 2)).named_parameters()]
    assert names[:3] == ["conv.weight", "bn.weight", "bn.bias"]
    assert names[3:9] == [f"blocks.0.{part}" for part in (
        "conv1.weight", "bn1.weight", "bn1.bias", "conv2.weight", "bn2.weight", "bn2.bias")]  # fmt: skip
    assert "blocks.2.shortcut.0.weight" in names
    assert names[-2:] == ["fc.weight", "fc.bias"]
    assert [n for n, p in VGG(11, width=1).named_parameters() if p.ndim == 4] == [
        f"layers.{place}.weight" for place in (0, 4, 8, 11, 15, 18, 22, 25)
    ]


def test_plans_count_what_the_paper_counts():
    for make, compressible, total in ((resnet20, 270_896, 272_474), (vgg11, 9_222_848, 9_231_114)):
        with torch.device("meta"):
            plan = nn.plan(make(), 100, include="*")
        assert (plan.weights, plan.dense_params) == (compressible, total)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: ResNet(21), "ResNet: depth=21 came"),
        (lambda: ResNet(2), "ResNet: depth=2 came"),
        (lambda: resnet20(0), "ResNet: num_classes=0"),
        (lambda: resnet20(widths=(4, 8)), r"widths=\(4, 8\)"),
        (lambda: resnet20(widths=(4, 0, 8)), r"widths=\(4, 0, 8\)"),
        (lambda: resnet20(shortcut="none"), "ResNet: shortcut='none' came"),
        (lambda: resnet20(widths=(4, 8, 4), shortcut="identity"), "can add channels, not drop them"),
        (lambda: VGG(12), "VGG: depth=12 came; one of 11, 13, 16"),
        (lambda: vgg11(width=0), "VGG: num_classes=10, width=0"),
        (lambda: vgg11(-1), "VGG: num_classes=-1"),
    ],
)
def test_sizes_that_make_no_network_are_refused(make, match):
    with pytest.raises(ArgumentError, match=match):
        make()
