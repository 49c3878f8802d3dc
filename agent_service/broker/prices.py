"""What tokens cost: the table of the genai-prices library, or an operator's own."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
from genai_prices import Usage, calc_price
from pydantic import TypeAdapter, ValidationError

from agent_service.broker.meter import Tokens

_log = structlog.get_logger(__name__)


class PricesInvalid(Exception):
    """The operator's table cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens. A cache's prices default to the usual share of `input`."""

    input: float
    output: float
    cache_write: float | None = None
    cache_read: float | None = None
    cache_write_hour: float | None = None
    """Of what is kept for an hour, instead of five minutes."""

    def of(self, tokens: Tokens) -> float:
        """US dollars for these tokens."""
        write = self.input * FIVE_MINUTES if self.cache_write is None else self.cache_write
        hour = self.input * HOUR if self.cache_write_hour is None else self.cache_write_hour
        read = self.input * 0.1 if self.cache_read is None else self.cache_read
        return (
            tokens.input * self.input
            + tokens.output * self.output
            + (tokens.cache_write - tokens.cache_write_hour) * write
            + tokens.cache_write_hour * hour
            + tokens.cache_read * read
        ) / 1e6


FIVE_MINUTES, HOUR = 1.25, 2.0
"""What it costs to write to a cache, as shares of the input's price."""
UNKNOWN = Price(15, 75)
"""For a model that no table knows: dear on purpose, so that a cap holds for it too."""
_TABLE = TypeAdapter(dict[str, Price])


class PriceTable:
    """Prices by model. An operator's patterns come first, in their order."""

    def __init__(self, own: Mapping[str, Price] | None = None) -> None:
        self._own = dict(own or {})
        self._told: set[str] = set()

    @classmethod
    def read(cls, path: Path) -> PriceTable:
        """The operator's table: JSON such as `{"claude-opus-*": {"input": 5, "output": 25}}`.

        Raises `PricesInvalid`.
        """
        try:
            return cls(_TABLE.validate_json(path.read_bytes(), strict=False, extra="forbid"))
        except OSError as error:
            raise PricesInvalid(f"{path} cannot be read: {error.strerror}.") from None
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise PricesInvalid(f"{path}: {where or 'the file'}: {first['msg']}.") from None

    def cost(self, model: str, tokens: Tokens) -> float:
        """US dollars for an answer of this model."""
        for pattern, price in self._own.items():
            if fnmatch.fnmatchcase(model, pattern):
                return price.of(tokens)
        usage = Usage(
            input_tokens=tokens.input + tokens.cache_write + tokens.cache_read,
            cache_write_tokens=tokens.cache_write,
            cache_read_tokens=tokens.cache_read,
            output_tokens=tokens.output,
        )
        # The library knows writes for five minutes only: 1.25 times the input's price, not twice.
        more = Usage(input_tokens=tokens.cache_write_hour)
        try:
            dollars = float(calc_price(usage, model, provider_id="anthropic").total_price)
            extra = float(calc_price(more, model, provider_id="anthropic").total_price)
            return dollars + (HOUR - FIVE_MINUTES) * extra
        except (LookupError, ValueError):
            if model not in self._told:
                self._told.add(model)
                _log.warning("price.unknown", model=model, counted_as=UNKNOWN)
            return UNKNOWN.of(tokens)
