"""Models that come with emloop, and the contract of all models."""

from emloop._support.lazy import lazy_names

__all__ = ["AbstractModel", "Ensemble", "Sequence"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "AbstractModel": ".abstract_model",
        "Ensemble": ".ensemble",
        "Sequence": ".sequence",
        "abstract_model": ".abstract_model",
        "ensemble": ".ensemble",
        "exported": ".exported",
        "sequence": ".sequence",
    },
)
