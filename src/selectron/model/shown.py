"""A model to look at: its SQL, its steps, a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sqlglot import exp

from selectron.errors import ConfigurationError, DataError
from selectron.markup import html_table
from selectron.model.explained import ExplainedModel
from selectron.model.kept import chosen
from selectron.model.used import UsedModel
from selectron.portable import portable_query, table_named, written
from selectron.portable.dbt import CONFIGURATION, escape, reference
from selectron.statements import step_statement, training_script, training_statement
from selectron.tracing import Trace
from selectron.trainer import Trainer, stored_tick, stored_values

__all__ = ["SQL_KINDS", "ShownModel"]


SQL_KINDS: Final = ("predict", "train", "evaluate", "step", "script")


class ShownModel(UsedModel, ExplainedModel):
    """A model that shows itself."""

    def sql(self, kind: str = "predict", source: object = None, *, scores: bool = False) -> str:
        """The SQL of a model, as text.

        Parameters
        ----------
        kind
            ``"predict"``: the query that predicts; ``"train"``: the whole training as one statement that
            gives the same weights; ``"evaluate"``: the figures of quality; ``"step"``: one training step
            from the current checkpoint; ``"script"``: the training as a loop over temporary tables, where the
            engine has scripts.
        source
            The table it is about; by default the one that was trained on.
        scores
            Whether a prediction has the raw outputs too.
        """
        if scores and kind == "predict":
            predictions = self.predict(self.training_relation(source), scores=True)
            return predictions.sql
        if kind == "script":
            specification = self.blueprint.specification
            return training_script(
                self.blueprint,
                self.layout(),
                self.arranged(source),
                specification.training.epochs,
                specification.steps or 1,
                self.engine,
            )
        return self.engine.sql(self.statement(kind, source), pretty=True)

    def portable_sql(
        self,
        dialect: str,
        table: str | None = None,
        *,
        keep: Sequence[str] | None = None,
        scores: bool = False,
        dbt: bool = False,
    ) -> str:
        """Prediction as one statement that runs where neither Selectron nor the model is.

        Features, weights and classes are written down in it.

        Parameters
        ----------
        dialect
            A dialect of sqlglot: ``"snowflake"``, ``"databricks"``, ``"redshift"``, ``"trino"``,
            ``"clickhouse"``, ``"mysql"``, ``"tsql"`` and so on; one of `selectron.portable.DIALECTS`.
        table
            The table to predict for, as it is called there; by default that of the training.
        keep
            Its columns that come before the predictions: by default those of this database's table of that
            name, or else the model's features.
        scores
            Whether the raw outputs of the last layer come too.
        dbt
            Whether it is a dbt model: `table` is then another model, or ``source.table``.

        Raises
        ------
        ConfigurationError
            If there is no such dialect.

        Examples
        --------
        >>> import selectron
        >>> db = selectron.connect()
        >>> rows = "SELECT x, x > 4 AS large FROM range(10) AS t(x)"
        >>> model = db.train(rows, "large", network=selectron.MLP([]), epochs=1, validation=0)
        >>> print(model.portable_sql("mysql", "numbers").splitlines()[-1])
        FROM `stage_2`
        """
        named = table if table is not None else self.training_table()
        source = reference(named) if dbt else table_named(named, dialect)
        kept = self.kept_columns(table) if keep is None else keep
        query = portable_query(self.blueprint, self.parameters, source, kept, dialect, scores=scores)
        return f"{CONFIGURATION}\n\n{written(escape(query), dialect)}" if dbt else written(query, dialect)

    def training_table(self) -> str:
        """The name of the table that was trained on, or of the file without its ending."""
        source = self.blueprint.specification.source
        if source is None or (any(map(str.isspace, source)) and not self.engine.has_table(source)):
            raise DataError(
                f"Model {self.name!r} was not trained on a table that has a name.", hint="Name a table."
            )
        return source if self.engine.has_table(source) else Path(source).name.split(".")[0]

    def kept_columns(self, table: str | None) -> list[str]:
        """The columns of a table of this database, or those of the features if it has none of that name."""
        found = table if table is not None else self.blueprint.specification.source
        if found is not None and (table is None or self.engine.has_table(found)):
            return [own.name for own in self.engine.columns(self.engine.relation(found))]
        return [feature.column for feature in self.blueprint.encoding.features]

    def statement(self, kind: str, source: object = None) -> exp.Expr:
        """The SQL of a model, as a tree."""
        if kind == "predict":
            return self.predict(self.training_relation(source)).lasting
        if kind == "evaluate":
            return self.evaluation_query(source)
        if kind == "train":
            epochs = self.blueprint.specification.training.epochs
            rows = self.arranged(source)
            return training_statement(self.blueprint, self.layout(), rows, epochs, self.engine)
        if kind == "step":
            tick, values = stored_values(self.store, self.record.model_id, self.blueprint)
            rows = self.arranged(source)
            return step_statement(self.blueprint, self.layout(), rows, tick, values, self.engine)
        raise ConfigurationError(f"There is no SQL {kind!r}.", hint=f"Use one of {', '.join(SQL_KINDS)}.")

    def trace(self, source: object = None, *, step: int | None = None) -> Trace:
        """The phases of one training step: inputs, pre-activations, activations, loss, gradients, update.

        Parameters
        ----------
        source
            The training rows; by default the table that was trained on.
        step
            The step to look at, from 1; by default the next one from the current checkpoint. Held-out
            batches count, as steps that change nothing.

        Examples
        --------
        >>> import selectron
        >>> db = selectron.connect()
        >>> rows = "SELECT x, x > 4 AS large FROM range(10) AS t(x)"
        >>> model = db.train(rows, "large", network=selectron.MLP([2]), epochs=1, validation=0)
        >>> list(dict.fromkeys(row.phase for row in model.trace(step=1).fetched()))
        ['input', 'pre-activation', 'activation', 'logits', 'loss', 'gradient', 'update']
        """
        rows = self.arranged(source)
        if step is None:
            tick, values = stored_values(self.store, self.record.model_id, self.blueprint)
        elif step < 1:
            raise ConfigurationError(f"step is {step}.", hint="Give 1 or more.")
        else:
            trained = stored_tick(self.store, self.record.model_id)
            if step > trained + 1:
                raise ConfigurationError(
                    f"step is {step}, and model {self.name!r} was trained for {trained} steps.",
                    hint=f"Give {trained + 1} or less.",
                )
            choice = chosen(self.engine, self.blueprint)
            counts = (self.engine, self.store, self.record, self.blueprint, choice)
            tick, values = Trainer(*counts, lambda progress: None).values_after(rows, step - 1)
        return Trace(self.engine, self.blueprint, rows, tick, values)

    def explain(self, source: object = None) -> dict[str, str]:
        """Why the model is trained as it is: layout, strategy, predicted cost, size of the statement.

        Parameters
        ----------
        source
            The table it is about; by default the one that was trained on.
        """
        choice = chosen(self.engine, self.blueprint)
        specification = self.blueprint.specification
        statement = self.engine.sql(self.statement("step", source))
        named = {"layout": specification.layout, "strategy": specification.strategy}
        apart = f", each in {choice.parts} parts side by side" if choice.parts > 1 else ""
        given = [f"{name} {value}" for name, value in named.items() if value is not None]
        return {
            "engine": self.engine.dialect,
            "layout": str(choice.layout),
            "strategy": str(choice.strategy),
            "chosen": "as asked for: " + ", ".join(given) if given else "the cheapest that runs",
            "candidates": "; ".join(choice.reasons),
            "predicted": f"{choice.seconds * 1000:.3g} ms a step",
            "batches": f"{specification.plan.per_epoch} of {specification.plan.size} rows an epoch{apart}",
            "statement": f"{len(statement)} bytes for one step",
        }

    def report(self, path: str | Path, source: object = None) -> None:
        """Write one page of HTML about the model, which needs no network to be read.

        It shows the data and what was learned of it, the losses of the training, the quality of predictions,
        the importance of columns, the network with its weights, and the SQL.

        Parameters
        ----------
        path
            The file to write.
        source
            A table, view, query, file or data frame whose target is known, to judge predictions on; by
            default the rows held out in training. Without either, the page says nothing about quality.

        Raises
        ------
        ConfigurationError
            If the file cannot be written, or Matplotlib and Jinja are not installed.
        DataError
            If there are no rows to judge, or the held-out ones are no longer there.

        Examples
        --------
        >>> import selectron, tempfile
        >>> db = selectron.connect()
        >>> rows = "SELECT x, x > 4 AS large FROM range(10) AS t(x)"
        >>> model = db.train(rows, "large", network=selectron.MLP([2]), epochs=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "report.html"
        ...     model.report(path)
        ...     path.read_text(encoding="utf-8").strip()[:15]
        '<!doctype html>'
        """
        # Imported here, since few sessions write reports.
        from selectron.reporting.page import write_report

        write_report(self, path, source)

    def _repr_html_(self) -> str:
        """What notebooks show: the model in short, and its losses."""
        log, record = self.log, self.record
        losses = [(row.training_loss, row.validation_loss) for row in log[-1:]]
        training, held_out = losses[0] if losses else (None, None)
        facts: dict[str, object] = {
            "model": f"{self.name} version {self.version}",
            "task": f"{record.task} of {record.target}",
            "rows": f"{record.training_rows} of {record.source}, and {record.validation_rows} held out",
            "network": " - ".join(str(len(units)) for units in self.blueprint.layers.values()),
            "epochs": str(record.epochs or 0),
            "training loss": training,
            "held-out loss": held_out,
        }
        return html_table((), [(name, value) for name, value in facts.items() if value is not None])
