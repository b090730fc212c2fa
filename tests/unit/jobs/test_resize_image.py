from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image, ImageCms
from pydantic import ValidationError

from backroom import Unrecoverable
from backroom.model.errors import InvalidInput
from backroom.model.job_types import check_data
from services.worker.jobs.resize_image import ResizeImage, resize_image

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.worker.support.artifacts import ArtifactStore

SCHEMA = json.dumps(ResizeImage.model_json_schema())


def picture(size: tuple[int, int] = (80, 40), form: str = "PNG", mode: str = "RGB", **options: Any) -> bytes:
    output = io.BytesIO()
    Image.new(mode, size, options.pop("color", None) or 0).save(output, form, **options)
    return output.getvalue()


def inline(content: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(content).decode()}


def run(content: bytes, **data: Any) -> dict[str, Any]:
    return resize_image({"source": inline(content), **data})


def stored(artifacts: ArtifactStore, result: dict[str, Any]) -> Image.Image:
    content = artifacts.read(result["artifact"])
    assert len(content) == result["bytes"]
    image = Image.open(io.BytesIO(content))
    assert image.size == (result["width"], result["height"])
    assert (image.format or "").lower() == result["format"]
    return image


@pytest.mark.parametrize(
    ("data", "size"),
    [
        ({"width": 40}, (40, 20)),
        ({"height": 10}, (20, 10)),
        ({"width": 40, "height": 40}, (40, 20)),
        ({"width": 40, "height": 5}, (10, 5)),
        ({"width": 40, "height": 40, "fit": "cover"}, (40, 40)),
        ({"width": 40, "height": 40, "fit": "fill"}, (40, 40)),
        ({"width": 160}, (160, 80)),
        ({"width": 1}, (1, 1)),
    ],
)
def test_the_result_has_the_size_that_was_asked_for(
    artifacts: ArtifactStore, data: dict[str, Any], size: tuple[int, int]
) -> None:
    assert stored(artifacts, run(picture(), **data)).size == size


def test_cover_cuts_the_edges_and_fill_stretches(artifacts: ArtifactStore) -> None:
    image = Image.new("RGB", (80, 40), "red")
    image.paste("blue", (20, 0, 60, 40))
    output = io.BytesIO()
    image.save(output, "PNG")
    square = {"width": 40, "height": 40}
    cut = stored(artifacts, run(output.getvalue(), **square, fit="cover"))
    assert cut.getpixel((0, 20)) == (0, 0, 255)
    stretched = stored(artifacts, run(output.getvalue(), **square, fit="fill"))
    assert stretched.getpixel((0, 20)) == (255, 0, 0)


@pytest.mark.parametrize("form", ["jpeg", "png", "webp"])
def test_the_result_has_the_format_that_was_asked_for(artifacts: ArtifactStore, form: str) -> None:
    result = run(picture(), width=10, format=form)
    assert stored(artifacts, result).format == form.upper()
    assert result["source"] == {"format": "png", "width": 80, "height": 40, "bytes": len(picture())}


@pytest.mark.parametrize(("source", "expected"), [("JPEG", "jpeg"), ("PNG", "png"), ("WEBP", "webp"), ("GIF", "png")])
def test_without_a_format_it_keeps_that_of_the_source(artifacts: ArtifactStore, source: str, expected: str) -> None:
    assert run(picture(form=source), width=10)["format"] == expected


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("form", ["jpeg", "png", "webp"])
def test_every_kind_of_pixel_is_taken(artifacts: ArtifactStore, mode: str, form: str) -> None:
    stored(artifacts, run(picture(mode=mode), width=10, format=form)).load()


def test_sixteen_bits_of_grey_stay_grey(artifacts: ArtifactStore) -> None:
    grey = stored(artifacts, run(picture(mode="I;16", color=0x8000), width=10)).convert("L")
    assert grey.getpixel((5, 2)) == pytest.approx(0x80, abs=1)


def test_transparency_is_kept_where_the_format_can_and_else_put_on_white(artifacts: ArtifactStore) -> None:
    clear = picture(mode="RGBA", color=(255, 0, 0, 0))
    assert stored(artifacts, run(clear, width=10, format="png")).getpixel((5, 2))[3] == 0
    ground = stored(artifacts, run(clear, width=10, format="jpeg")).getpixel((5, 2))
    assert ground == (255, 255, 255)


def test_a_photo_is_turned_as_its_camera_was_held_and_tells_nothing_more(artifacts: ArtifactStore) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    exif[0x010F] = "maker"
    image = stored(artifacts, run(picture(form="JPEG", exif=exif), width=20))
    assert image.size == (20, 40)
    assert dict(image.getexif()) == {}
    assert b"maker" not in artifacts.read(run(picture(form="JPEG", exif=exif), width=20)["artifact"])


@pytest.mark.parametrize("form", ["jpeg", "png", "webp"])
def test_the_colour_profile_is_kept(artifacts: ArtifactStore, form: str) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    content = picture(form="JPEG", icc_profile=profile)
    assert stored(artifacts, run(content, width=10, format=form)).info["icc_profile"] == profile


def test_a_profile_of_other_colours_is_not(artifacts: ArtifactStore) -> None:
    content = picture(form="JPEG", mode="CMYK", icc_profile=b"of ink")
    image = stored(artifacts, run(content, width=10))
    assert (image.mode, image.info.get("icc_profile")) == ("RGB", None)


def test_a_colour_that_stands_for_transparency_stays_transparent(artifacts: ArtifactStore) -> None:
    content = picture(color=(255, 0, 0), transparency=(255, 0, 0))
    pixel = stored(artifacts, run(content, width=10)).convert("RGBA").getpixel((5, 2))
    assert pixel[3] == 0


def test_lower_quality_makes_a_smaller_file(artifacts: ArtifactStore) -> None:
    noise = io.BytesIO()
    Image.effect_noise((80, 80), 100).save(noise, "PNG")
    sizes = [run(noise.getvalue(), width=80, format="jpeg", quality=quality)["bytes"] for quality in (5, 95)]
    assert sizes[0] < sizes[1]


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is of any size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack("!I", len(body)) + kind + body + struct.pack("!I", zlib.crc32(kind + body))

    header = struct.pack("!IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [6400, 9500, 60_000])
def test_a_pixel_bomb_is_refused_before_it_goes_off(artifacts: ArtifactStore, side: int) -> None:
    with pytest.raises(Unrecoverable, match=r"pixels|decompression bomb"):
        run(png_that_claims(side, side), width=10)
    assert list(artifacts) == []


def test_a_result_with_too_many_pixels_is_refused(configure: Callable[..., None], artifacts: ArtifactStore) -> None:
    configure(image_max_pixels="10000")
    with pytest.raises(Unrecoverable, match="the result would have 200 x 100 pixels; the limit is 10000"):
        run(picture(), width=200)


@pytest.mark.parametrize(
    "content", [b"", b"GIF89a", b"not an image", picture()[:60], picture(form="BMP"), picture(form="TIFF")]
)
def test_what_is_no_image_that_it_knows_is_refused_at_once(artifacts: ArtifactStore, content: bytes) -> None:
    with pytest.raises(Unrecoverable):
        resize_image({"source": {"base64": base64.b64encode(content).decode() or "===="}, "width": 10})


def test_base64_that_is_none_is_refused_at_once(artifacts: ArtifactStore) -> None:
    with pytest.raises(Unrecoverable):
        resize_image({"source": {"base64": "not base64!"}, "width": 10})


def test_another_try_of_the_job_replaces_what_the_first_stored(artifacts: ArtifactStore) -> None:
    assert run(picture(), width=10)["artifact"].startswith("image-")


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"source": {}, "width": 10},
        {"source": {"url": "https://a.example/x"}},
        {"source": {"url": "https://a.example/x", "base64": "AAAA"}, "width": 1},
        {"source": {"url": "ftp://a.example/x"}, "width": 1},
        {"source": {"url": "https://user:pw@a.example/x"}, "width": 1},
        {"source": {"base64": "AAAA"}, "width": 0},
        {"source": {"base64": "AAAA"}, "width": 10_001},
        {"source": {"base64": "AAAA"}, "width": 1, "fit": "crop"},
        {"source": {"base64": "AAAA"}, "width": 1, "format": "tiff"},
        {"source": {"base64": "AAAA"}, "width": 1, "quality": 101},
        {"source": {"base64": "AAAA"}, "width": 1, "heigth": 1},
    ],
)
def test_data_of_another_form_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ResizeImage.model_validate(data)
    with pytest.raises(InvalidInput):
        check_data(SCHEMA, data)


def test_data_without_a_size_is_refused_and_says_what_is_missing() -> None:
    with pytest.raises(InvalidInput) as refusal:
        check_data(SCHEMA, {"source": {"url": "https://a.example/x"}})
    assert [error.pointer for error in refusal.value.errors] == ["/data/height"]
