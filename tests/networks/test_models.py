"""The networks of the papers: their sizes, their shapes, their inits."""

import pytest
import torch
import torch.nn as tnn
import torch.nn.functional as tnnf

import nn
from nn.models import VGG, ResNet, ViT, resnet18, resnet20, resnet32, resnet44, resnet56, vgg11, vgg13, vgg16
from nn.models.registry import MODELS, READERS, build
from nn.sharing import banks_of
from rpstheory.errors import ArgumentError, ShapeError

DEPTHS = {resnet18: 18, resnet20: 20, resnet32: 32, resnet44: 44, resnet56: 56}
CONVOLUTIONS = {vgg11: (1, 1, 2, 2, 2), vgg13: (2, 2, 2, 2, 2), vgg16: (2, 2, 3, 3, 3)}
SMALL = {
    resnet20: {"widths": (4, 8, 16)},
    resnet18: {"widths": (2, 4, 8, 16)},
    vgg11: {"widths": (4, 8, 16, 32, 32)},
    vgg16: {"widths": (4, 8, 16, 32, 32)},
    ViT: {"widths": (4, 32)},
}


def counts(model):
    """(compressible, all) parameters."""
    weights = [m.weight.numel() for m in model.modules() if isinstance(m, tnn.Conv2d | tnn.Linear)]
    return sum(weights), sum(p.numel() for p in model.parameters())


def resnet_counts(depth, widths, classes, shortcut):
    """The same from the description in the paper."""
    first, last = widths[0], widths[-1]
    compressible, norms = 27 * first + last * classes, 2 * first
    before = first
    for stage, after in enumerate(widths):
        for place in range((depth - 2) // (2 * len(widths))):
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


def test_resnet18_is_imagenets_but_for_the_first_and_the_last_layer():
    """Known for ImageNet are 11,689,512, with 7 x 7 pixels at the start and a thousand classes at the end."""
    size = 11_689_512 - 64 * 3 * (7 * 7 - 3 * 3) - (1000 - 200) * 513
    assert counts(resnet18()) == (11_261_632, 11_271_432)
    assert size == 11_271_432
    assert counts(resnet18()) == resnet_counts(18, (64, 128, 256, 512), 200, "projection")


@pytest.mark.parametrize(
    ("make", "widths"),
    [
        (make, widths)
        for make in (resnet20, resnet32, resnet44, resnet56)
        for widths in ((16, 32, 64), (2, 2, 5))
    ]
    + [(resnet18, (3, 4, 4, 9))],
)
@pytest.mark.parametrize("shortcut", ["projection", "identity"])
def test_residual_networks_have_the_layers_of_their_depth(make, shortcut, widths):
    model = make(7, widths=widths, shortcut=shortcut)
    assert counts(model) == resnet_counts(DEPTHS[make], widths, 7, shortcut)
    deep = [m for m in model.modules() if isinstance(m, tnn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(deep) + 1 == DEPTHS[make]


@pytest.mark.parametrize("make", CONVOLUTIONS)
def test_vgg_networks_have_the_convolutions_of_their_depth(make):
    model = make(100, widths=(2, 3, 5, 7, 11))
    found = [m for m in model.modules() if isinstance(m, tnn.Conv2d)]
    widths = [w for w, count in zip((2, 3, 5, 7, 11), CONVOLUTIONS[make], strict=True) for _ in range(count)]
    shapes = [(after, before, 3, 3) for before, after in zip([3, *widths], widths, strict=False)]
    assert [tuple(m.weight.shape) for m in found] == shapes
    assert all(m.bias is not None for m in found)
    assert model.fc.weight.shape == (100, 11)
    deep = {"VGG": len(found) + 3}  # one linear layer in the place of three
    assert deep == {"VGG": int(make.__name__.removeprefix("vgg"))}


@pytest.mark.parametrize(("patch", "depth", "heads", "widths"), [(4, 6, 4, (32, 256)), (8, 2, 3, (5, 7))])
def test_vision_transformers_have_the_parameters_of_their_description(patch, depth, heads, widths):
    dim, hidden = heads * widths[0], widths[1]
    model = ViT(7, patch=patch, depth=depth, heads=heads, widths=widths)
    first, positions, last = 3 * patch**2 * dim + dim, 64 * dim, 2 * dim + 7 * dim + 7
    attention, perceptron = 4 * dim**2 + 4 * dim, 2 * dim * hidden + hidden + dim
    block = attention + perceptron + 2 * 2 * dim
    assert counts(model)[1] == first + positions + depth * block + last


def test_attention_of_a_vision_transformer_is_shared():
    plan = nn.plan(ViT(depth=1), 10)
    assert [weight.name for group in plan.groups for weight in group.weights] == [
        "patches.weight",
        "blocks.0.attention.in_proj_weight",
        "blocks.0.attention.out_proj.weight",
        "blocks.0.perceptron.0.weight",
        "blocks.0.perceptron.2.weight",
        "fc.weight",
    ]


@pytest.mark.parametrize("make", SMALL)
@pytest.mark.parametrize("size", [32, 64])
def test_images_become_logits(make, size):
    assert make(5, **SMALL[make])(torch.randn(2, 3, size, size)).shape == (2, 5)


def test_positions_are_interpolated_where_an_image_has_others():
    """Twice as many patches, each twice: the same tokens twice, if their positions are those of the grid."""
    torch.manual_seed(0)
    model = ViT(5, patch=2, depth=1, widths=(4, 8)).double().eval()
    small = torch.randn(1, 3, 16, 16, dtype=torch.float64)
    large = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    seen = []
    model.blocks.register_forward_hook(lambda module, given, out: seen.append(given[0]))
    model(small), model(large)
    with torch.no_grad():
        grids = [model.patches(x) for x in (small, large)]
    places = [tokens.transpose(1, 2).view_as(grid) - grid for tokens, grid in zip(seen, grids, strict=True)]
    wide = tnnf.interpolate(model.positions, scale_factor=2.0, mode="bilinear", align_corners=False)
    # a sum and a difference: one rounding each, of numbers below 8
    assert (places[0] - model.positions).abs().max() < 8 * 2**-52
    assert (places[1] - wide).abs().max() < 8 * 2**-52


def test_patches_that_change_places_with_their_positions_are_classified_alike():
    torch.manual_seed(0)
    model = ViT(5, patch=4, depth=2, widths=(4, 8)).double().eval()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    expected = model(x)
    with torch.no_grad():
        model.positions.copy_(model.positions.roll((3, 2), (2, 3)))
    # sums of 64 tokens in another order: some 2^6 roundings in each of some ten layers
    assert torch.allclose(model(x.roll((12, 8), (2, 3))), expected, rtol=1e-10, atol=1e-10)
    assert not torch.allclose(model(x), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.filterwarnings("ignore")  # the exporter warns about itself
def test_a_vision_transformer_of_shared_attention_is_exported_and_says_the_same(tmp_path):
    ort = pytest.importorskip("onnxruntime", reason="the extra export is not installed")
    pytest.importorskip("onnxscript", reason="the extra export is not installed")
    torch.manual_seed(0)
    model, x = ViT(5, depth=1, widths=(8, 16)), torch.randn(2, 3, 32, 32)
    shared = nn.share(model, 10, exclude=["patches", "*.out_proj"]).eval()
    assert [bank.n for bank in banks_of(shared)] == [3 * 32 * 32]
    nn.export_onnx(shared, (x,), tmp_path / "vit.onnx")
    session = ort.InferenceSession(tmp_path / "vit.onnx", providers=["CPUExecutionProvider"])
    (out,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert torch.allclose(torch.from_numpy(out), shared(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_names_build_models_by_a_scale_or_by_widths(name):
    whole = build(name, 10, 3)
    assert whole.widths == MODELS[name][1]
    assert counts(build(name, 10, 3, whole.widths)) == counts(whole)
    half = build(name, 10, 1, 0.5)
    assert half.widths == tuple(width // 2 for width in whole.widths)
    if name in READERS:
        assert half(torch.zeros(2, 1)).shape == (2, 1, 10)
    else:
        assert next(half.parameters() if name != "vit" else half.patches.parameters()).shape[1] == 1


@pytest.mark.parametrize("make", SMALL)
def test_channels_last_gives_the_same_and_stays(make):
    torch.manual_seed(0)
    model = make(5, channels=4, **SMALL[make]).double().eval()
    x = torch.randn(2, 4, 32, 32, dtype=torch.float64)
    expected = model(x)
    model = model.to(memory_format=torch.channels_last)
    seen = []
    last = [m for m in model.modules() if isinstance(m, tnn.BatchNorm2d | tnn.Conv2d)][-1]
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
    for model in (resnet20(), resnet18(widths=(16, 32, 64, 64)), vgg11(widths=(32, 64, 64, 64, 64))):
        for module in model.modules():
            if isinstance(module, tnn.Conv2d | tnn.Linear):
                w = module.weight.detach().double()
                # variance 2 / fan-in; chi-squared of mean 1, variance 2
                squares = w.square() * w[0].numel() / 2
                assert abs(squares.mean() - 1) < 5 * (2 / w.numel()) ** 0.5
    scales = torch.cat([m.weight for m in resnet20().modules() if isinstance(m, tnn.BatchNorm2d)]).detach()
    assert scales.min() >= 0
    assert scales.max() <= 1
    assert abs(scales.mean() - 0.5) < 5 * (1 / 12 / len(scales)) ** 0.5
    ones = (resnet18(widths=(1, 1, 1, 1)), resnet20(norms="ones"), vgg11(widths=(1, 1, 1, 1, 1)))
    for model in ones:
        assert all((m.weight == 1).all() for m in model.modules() if isinstance(m, tnn.BatchNorm2d))
    assert not any(p.any() for name, p in ones[-1].named_parameters() if name.endswith("bias"))


def test_weights_of_a_vision_transformer_are_xavier_uniform():
    torch.manual_seed(0)
    model = ViT(depth=2)
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            assert not p.any()
        elif p.ndim > 1 and name != "positions":
            out, fan = p.flatten(1).shape
            limit = (6 / (out + fan)) ** 0.5
            assert limit * (1 - 20 / p.numel()) < p.abs().max() <= limit  # all of n inside: chance e^-20


def test_a_seed_gives_the_same_network_again():
    def drawn():
        torch.manual_seed(3)
        return [p.sum().item() for p in (*resnet20().parameters(), *ViT().parameters())]

    assert drawn() == drawn()


def test_names_of_parameters_stay_so_that_old_files_load():
    names = [name for name, _ in ResNet(8, widths=(1, 1, 2)).named_parameters()]
    assert names[:3] == ["conv.weight", "bn.weight", "bn.bias"]
    assert names[3:9] == [f"blocks.0.{part}" for part in (
        "conv1.weight", "bn1.weight", "bn1.bias", "conv2.weight", "bn2.weight", "bn2.bias")]  # fmt: skip
    assert "blocks.2.shortcut.0.weight" in names
    assert names[-2:] == ["fc.weight", "fc.bias"]
    assert [n for n, p in VGG(11, widths=(1, 1, 1, 1, 1)).named_parameters() if p.ndim == 4] == [
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
        (lambda: ResNet(21), "ResNet: depth=21 came for 3 stages; 6k"),
        (lambda: ResNet(2), "ResNet: depth=2 came"),
        (lambda: resnet20(widths=(1, 1, 1, 1)), "ResNet: depth=20 came for 4 stages; 8k"),
        (lambda: resnet20(0), "ResNet: num_classes=0"),
        (lambda: resnet20(widths=(4, 8)), r"widths=\(4, 8\)"),
        (lambda: resnet20(widths=(4, 0, 8)), r"widths=\(4, 0, 8\)"),
        (lambda: resnet20(shortcut="none"), "ResNet: shortcut='none' came"),
        (lambda: resnet20(norms="zeros"), "ResNet: norms='zeros' came"),
        (lambda: resnet20(widths=(4, 8, 4), shortcut="identity"), "can add channels, not drop them"),
        (lambda: VGG(12), "VGG: depth=12 came; one of 11, 13, 16"),
        (lambda: vgg11(widths=(1, 1, 1, 1, 0)), r"VGG: num_classes=10, widths=\(1, 1, 1, 1, 0\)"),
        (lambda: vgg11(widths=(1, 1, 1, 1)), "five widths"),
        (lambda: vgg11(-1), "VGG: num_classes=-1"),
        (lambda: ViT(heads=0), "ViT: num_classes=10, patch=4, depth=6, heads=0"),
        (lambda: ViT(widths=(4,)), "two widths"),
    ],
)
def test_sizes_that_make_no_network_are_refused(make, match):
    with pytest.raises(ArgumentError, match=match):
        make()


def test_images_that_cannot_be_cut_into_patches_are_refused():
    with pytest.raises(ShapeError, match="ViT: images of 32 x 30 pixels came; sides that 4 divides"):
        ViT(depth=1)(torch.randn(1, 3, 32, 30))
