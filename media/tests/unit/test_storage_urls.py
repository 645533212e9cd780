"""Storage URLs: what they say, and the sentence for those that say nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from media_service.storage_urls import S3Address, parse_storage_url


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("file:///var/lib/media", Path("/var/lib/media")),
        ("file:///with%20space", Path("/with space")),
        ("s3://bucket", S3Address(bucket="bucket")),
        ("s3://bucket/", S3Address(bucket="bucket")),
        (
            "s3://my-bucket.eu/a/b/?region=eu-central-1",
            S3Address(bucket="my-bucket.eu", prefix="a/b/", region="eu-central-1"),
        ),
        (
            "s3://bucket/media?endpoint=http://127.0.0.1:8333/",
            S3Address(
                bucket="bucket",
                prefix="media/",
                endpoint="http://127.0.0.1:8333",
                region="us-east-1",
                is_path_style=True,
            ),
        ),
        (
            "s3://bucket?endpoint=https%3A%2F%2Fs3.example&region=x-1&path_style=false",
            S3Address(bucket="bucket", endpoint="https://s3.example", region="x-1"),
        ),
    ],
)
def test_what_a_url_says(url: str, said: Path | S3Address) -> None:
    assert parse_storage_url(url) == said


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "file:///"),
        ("/var/lib/media", "file:///"),
        ("file://host/path", "file:///"),
        ("s3:bucket", "file:///"),
        ("s3://", "no name of a bucket"),
        ("s3://Bucket", "no name of a bucket"),
        ("s3://key:secret@bucket", "AWS_ACCESS_KEY_ID"),
        ("s3://bucket/../other", "prefix"),
        ("s3://bucket/a%00b", "prefix"),
        ("s3://bucket?endpoint=s3.example", "endpoint"),
        ("s3://bucket?endpoint=https://s3.example/path", "endpoint"),
        ("s3://bucket?region=EU", "region"),
        ("s3://bucket?path_style=yes", "path_style"),
        ("s3://bucket?regoin=eu", "regoin is unknown"),
    ],
)
def test_what_says_nothing_is_refused(url: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_storage_url(url)
