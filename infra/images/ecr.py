"""Amazon's container registry: what pushing to it needs, its repositories, and a login that lasts twelve hours."""

import base64
import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infra.errors import ImageError
from infra.images.names import Image

HOST = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.(?P<domain>amazonaws\.com(\.cn)?)")
TIMEOUTS = Config(connect_timeout=10, read_timeout=30, retries={"max_attempts": 3, "mode": "standard"})
CHAIN = "variables, ~/.aws, single sign-on, container or instance role"


class Login(NamedTuple):
    """A user and the password that goes with it for twelve hours."""

    user: str
    password: str


class Registry(NamedTuple):
    """The registry of one account in one region."""

    account: str
    region: str
    host: str

    def connect(self) -> Any:
        """Return a client with boto3's own credentials."""
        return boto3.client("ecr", region_name=self.region, config=TIMEOUTS)

    def create_repository(self, image: Image) -> bool:
        """Give an image a repository with immutable tags and a scan on push; return whether there was none."""
        client, name = self.connect(), image.repository
        wanted: dict[str, Any] = {"registryId": self.account, "repositoryName": name}
        scan = {"scanOnPush": True}
        try:
            client.create_repository(**wanted, imageTagMutability="IMMUTABLE", imageScanningConfiguration=scan)
        except client.exceptions.RepositoryAlreadyExistsException:
            client.put_image_tag_mutability(**wanted, imageTagMutability="IMMUTABLE")
            client.put_image_scanning_configuration(**wanted, imageScanningConfiguration=scan)
            return False
        return True

    def has(self, image: Image) -> bool:
        """Return whether the image was pushed before; its tag would be refused a second time."""
        client = self.connect()
        try:
            client.describe_images(
                registryId=self.account, repositoryName=image.repository, imageIds=[{"imageTag": image.tag}]
            )
        except (client.exceptions.ImageNotFoundException, client.exceptions.RepositoryNotFoundException):
            return False
        return True

    def login(self) -> Login:
        """Return a fresh login."""
        token = self.connect().get_authorization_token()["authorizationData"][0]["authorizationToken"]
        user, _, password = base64.b64decode(token).decode().partition(":")
        return Login(user, password)


def check_environment(variables: Mapping[str, str] = os.environ) -> Registry:
    """Return the registry that the environment names; an ImageError lists everything that pushing lacks."""
    return _read_registry(variables, _list_missing_credentials())


def find_registry(variables: Mapping[str, str] = os.environ) -> Registry:
    """Return the registry that the environment names, credentials or none; an ImageError lists what it lacks."""
    return _read_registry(variables, [])


def _read_registry(variables: Mapping[str, str], lacking: list[str]) -> Registry:
    given = variables.get("SLIPWAY_REGISTRY", "")
    parts = HOST.fullmatch(given)
    region = parts["region"] if parts else variables.get("AWS_REGION", "")
    account = parts["account"] if parts else variables.get("AWS_ACCOUNT_ID", "")
    lacks = [*_list_missing(given, region, account), *lacking]
    if lacks:
        raise ImageError("images cannot be pushed:\n" + "\n".join(f"  - {lack}" for lack in lacks))
    domain = parts["domain"] if parts else "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return Registry(account, region, f"{account}.dkr.ecr.{region}.{domain}")


def _list_missing(given: str, region: str, account: str) -> list[str]:
    lacks = []
    if given and not HOST.fullmatch(given):
        return [f"SLIPWAY_REGISTRY is {given!r}; expected ACCOUNT.dkr.ecr.REGION.amazonaws.com, or unset"]
    if not region:
        lacks.append("AWS_REGION is not set; expected the registry's region, say eu-central-1")
    if not account:
        lacks.append("AWS_ACCOUNT_ID is not set; expected the registry's account, or its address in SLIPWAY_REGISTRY")
    elif not re.fullmatch(r"\d{12}", account):
        lacks.append(f"AWS_ACCOUNT_ID is {account!r}; expected 12 digits")
    return lacks


def _list_missing_credentials() -> list[str]:
    try:
        if boto3.Session().get_credentials() is None:
            return [f"boto3 finds no credentials ({CHAIN}); log in, say with `aws sso login`"]
    except (BotoCoreError, ClientError) as exc:
        return [f"boto3 cannot use the credentials it finds: {exc}"]
    return []
