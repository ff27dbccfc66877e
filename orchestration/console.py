"""What a run prints: one short line per thing worth knowing. The whole log is in Dagster's event log."""

import logging
import sys

from dagster import Field, InitLoggerContext, logger


class _ShortFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        meta = getattr(record, "dagster_meta", {})
        step = meta.get("step_key") or "run"
        return f"{self.formatTime(record, '%H:%M:%S')}  {step}: {meta.get('orig_message') or record.getMessage()}"


@logger(
    config_schema={"log_level": Field(str, is_required=False, default_value="INFO")},
    description="Short lines on the standard output.",
)
def console_logger(context: InitLoggerContext) -> logging.Logger:
    """A logger for people."""
    level: str = context.logger_config["log_level"]
    short = logging.Logger("customer360", level)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_ShortFormatter())
    short.addHandler(handler)
    return short
