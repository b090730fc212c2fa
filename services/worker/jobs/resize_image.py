"""``resize-image``: scale an image and store the result as an artifact."""

import base64
import binascii
import io
import logging
from typing import Annotated, Any, Literal, Self

from PIL import Image, ImageOps
from pydantic import ConfigDict, Field, model_validator

from backroom import Exponential, Unrecoverable, current_job, job
from backroom.model.errors import TooLarge
from backroom.outbound import check_status
from services.worker.support.artifacts import ArtifactStore
from services.worker.support.calling import outbound
from services.worker.support.data import HttpUrl, JobData
from services.worker.support.endings import unrecoverable
from services.worker.support.settings import JobSettings, get_job_settings

log = logging.getLogger(__name__)

Format = Literal["jpeg", "png", "webp"]

#: What is opened at all: a decoder that is not asked cannot be attacked.
READABLE = ("JPEG", "PNG", "WEBP", "GIF")
EXTENSIONS: dict[Format, str] = {"jpeg": "jpg", "png": "png", "webp": "webp"}
#: The format of the result when none is asked for; of anything else it is PNG.
SAME_FORMAT: dict[str, Format] = {"jpeg": "jpeg", "webp": "webp"}

Side = Annotated[int, Field(ge=1, le=10_000)]


class FromUrl(JobData):
    """An image to fetch."""

    url: HttpUrl


class FromBase64(JobData):
    """An image that comes with the job."""

    base64: str = Field(min_length=1, description="JPEG, PNG, WebP or GIF (its first frame).")


class ResizeImage(JobData):
    """Which image, and how it shall look."""

    # The same as `_check_size`, for those who check the data by its JSON Schema.
    model_config = ConfigDict(
        json_schema_extra={"if": {"not": {"required": ["width"]}}, "then": {"required": ["height"]}}
    )

    source: FromUrl | FromBase64
    width: Side | None = None
    height: Side | None = None
    fit: Literal["contain", "cover", "fill"] = Field(
        "contain",
        description="With width and height: contain (all of it inside), cover (fills both, cut at the edges), "
        "fill (stretched).",
    )
    format: Format | None = Field(None, description="Of the result. Left out: as the source; PNG for GIF.")
    quality: int = Field(85, ge=1, le=100, description="Of JPEG and WebP.")

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        if self.width is None and self.height is None:
            raise ValueError("needs width, height, or both")
        return self


def load(source: FromUrl | FromBase64, settings: JobSettings) -> bytes:
    """The bytes of the source, at most `BACKROOM_JOBS_MAX_RESPONSE_BYTES`."""
    if isinstance(source, FromBase64):
        with unrecoverable(binascii.Error, ValueError):
            return base64.b64decode(source.base64, validate=True)
    with outbound(settings) as client:
        response = client.get(source.url)
    check_status(response)
    return response.body


def decode(content: bytes, max_pixels: int) -> tuple[Image.Image, str]:
    """The image, its size checked before a pixel is unpacked, turned as its camera was held; and its format."""
    # A warning is Pillow's first complaint about a decompression bomb; where warnings are errors it is raised.
    with unrecoverable(OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        image = Image.open(io.BytesIO(content), formats=READABLE)
        if image.width * image.height > max_pixels:
            raise Unrecoverable(f"the image has {image.width} x {image.height} pixels; the limit is {max_pixels}")
        image.load()
        return ImageOps.exif_transpose(image), (image.format or "").lower()


def target_size(size: tuple[int, int], data: ResizeImage) -> tuple[int, int]:
    """Width and height of the result, in pixels, for an image of ``size``."""
    width, height = size
    if data.width and data.height:
        if data.fit != "contain":
            return data.width, data.height
        scale = min(data.width / width, data.height / height)
    else:
        scale = data.width / width if data.width else (data.height or height) / height
    return max(1, round(width * scale)), max(1, round(height * scale))


def resize(image: Image.Image, data: ResizeImage, max_pixels: int) -> Image.Image:
    """The image in its new size."""
    size = target_size(image.size, data)
    if size[0] * size[1] > max_pixels:
        raise Unrecoverable(f"the result would have {size[0]} x {size[1]} pixels; the limit is {max_pixels}")
    if image.mode == "I;16":  # `convert` would cut sixteen bits of grey off at 255 instead of scaling them
        image = image.point(lambda value: value * (1 / 256)).convert("L")
    elif image.mode not in {"RGB", "RGBA", "L", "LA"} or "transparency" in image.info:
        # Palettes and the like cannot be scaled smoothly; and a profile is for the colours before they are converted.
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        image.info.pop("icc_profile", None)
    if data.width and data.height and data.fit == "cover":
        return ImageOps.fit(image, size, Image.Resampling.LANCZOS)
    return image.resize(size, Image.Resampling.LANCZOS)


def encode(image: Image.Image, form: Format, quality: int) -> bytes:
    """The image as a file. Of the metadata only the colour profile is kept: a photo knows where it was taken."""
    if form == "jpeg" and image.mode in {"RGBA", "LA"}:  # JPEG knows no transparency: put it on white
        ground = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")
    profile = image.info.get("icc_profile")
    image.info.clear()
    output = io.BytesIO()
    image.save(output, form, icc_profile=profile, **({"optimize": True} if form == "png" else {"quality": quality}))
    return output.getvalue()


@job("resize-image", queue="images", attempts=3, backoff=Exponential(5, jitter=0.5), timeout=120)
def resize_image(data: ResizeImage) -> dict[str, Any]:
    """Scale an image, from a URL or given as base64, to ``width`` x ``height`` and store it as an artifact."""
    settings = get_job_settings()
    content = load(data.source, settings)
    current_job.progress(30, "loaded")
    image, kind = decode(content, settings.image_max_pixels)
    form: Format = data.format or SAME_FORMAT.get(kind, "png")
    resized = resize(image, data, settings.image_max_pixels)
    current_job.progress(70, "resized")
    with unrecoverable(TooLarge):
        # Named after the job: another try replaces what this one stored.
        artifact = ArtifactStore.from_settings().write(
            f"image-{current_job.id}.{EXTENSIONS[form]}", encode(resized, form, data.quality)
        )
    log.info("stored %s: %d x %d, %d bytes", artifact.name, resized.width, resized.height, artifact.size)
    return {
        "artifact": artifact.name,
        "format": form,
        "width": resized.width,
        "height": resized.height,
        "bytes": artifact.size,
        "source": {"format": kind, "width": image.width, "height": image.height, "bytes": len(content)},
    }
