"""Transforming: pictures that are made because a signed URL asks for them, each once."""

from __future__ import annotations

from media_service.core.access import Signature, Signer, media_path
from media_service.core.blobs import StoredRendition
from media_service.core.delivering import Representation, lasting
from media_service.core.developing import Developing
from media_service.core.errors import InvalidSignature, MediaFailed, is_final
from media_service.core.media import Media, MediaId, ProcessingStatus
from media_service.core.ports import Clock
from media_service.core.reading import Reading
from media_service.core.recipes import Encoding, PictureRecipe
from media_service.core.transformations import Offer, Transformation, require_picture


class Transforming:
    """Finds what a transformation's URL leads to, and has it made if it is not there."""

    def __init__(
        self,
        *,
        reading: Reading,
        developing: Developing,
        signer: Signer,
        offer: Offer,
        clock: Clock,
    ) -> None:
        self._reading = reading
        self._developing = developing
        self._signer = signer
        self._offer = offer
        self._clock = clock

    async def find(
        self,
        media_id: MediaId,
        transformation: Transformation,
        *,
        version: str,
        signature: Signature | None,
        encoding: Encoding,
    ) -> Representation:
        """The outcome for a reader who takes this encoding, made now if need be.

        Raises InvalidSignature without one that is valid, whatever is there and whoever may see
        it; InvalidTransformation for what is not offered (any more); MediaNotFound; MediaFailed;
        what `Developing.ensure` raises.
        """
        now, spelled = self._clock(), transformation.spelled
        if signature is None:
            raise InvalidSignature
        self._signer.verify(signature, media_path(media_id, spelled), version=version, now=now)
        self._offer.require(spelled)
        media = await self._reading.get(media_id)
        require_picture(media)
        recipe = transformation.recipe(encoding)
        return Representation(
            media=media,
            stored=await self._stored(media, recipe),
            is_exact=version == transformation.version,
            lasting=lasting(media, signature, now),
            recipe=recipe,
            is_negotiated=transformation.encoding is None,
        )

    async def _stored(self, media: Media, recipe: PictureRecipe) -> StoredRendition:
        known = self._developing.known(media, recipe)
        if known:
            return known
        if media.status is ProcessingStatus.FAILED and is_final(media.failure_code):
            raise MediaFailed
        return await self._developing.ensure_picture(media, recipe)
