"""``gnnlib embed``: embed the nodes of a dataset, write them, draw them, and say how good they are."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from gnnlib.embed import NodeEmbedding


def embed(
    method: Annotated[str, typer.Argument(help="node2vec, deepwalk, line, fastrp, prone, netmf, ...")],
    dataset: Annotated[str, typer.Argument(help="Dataset; `gnnlib data` lists them.")],
    out: Annotated[
        Path | None, typer.Option(help="FILE.npy, FILE.csv or FILE.txt (word2vec's text).")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="FILE.png, .svg, .pdf or .jpg: two principal components.")
    ] = None,
    evaluate: Annotated[
        bool, typer.Option("--evaluate", help="Classify nodes, or predict links where there are no labels.")
    ] = False,
    links: Annotated[bool, typer.Option("--links", help="With --evaluate: predict links too.")] = False,
    shuffles: Annotated[int, typer.Option(min=1, help="With --evaluate: how many permutations.")] = 10,
    C: Annotated[float, typer.Option("--C", help="With --evaluate: inverse strength of the penalty.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of the method.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1.")] = "cpu",
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Any parameter of the method; an unknown one lists them."
        ),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Data root. [$GNNLIB_DATA, then the user's cache]")
    ] = None,
) -> None:
    """Embed the nodes of a dataset's graph."""
    from rich.console import Console
    from rich.progress import Progress

    from gnnlib.embed.evaluate import check_penalty
    from gnnlib.embed.write import check_path, check_picture, draw_embedding, write_embedding

    if out is None and picture is None and not evaluate:
        raise ValueError("embed: nothing would be kept; give --out FILE, --picture FILE or --evaluate")
    estimator = _estimator(method, options or [], seed, device)
    if out is not None:
        check_path(out)
    if picture is not None:
        check_picture(picture)
    if evaluate:
        check_penalty("embed", C)
    from gnnlib.data import load

    graphs = load(dataset, root).dataset
    if len(graphs) != 1:
        raise ValueError(
            f"embed: {dataset} has {len(graphs)} graphs; embed takes one: choose a dataset of one graph"
        )
    data = graphs[0]
    console = Console()
    with Progress(console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task(method)
        estimator.progress = lambda what, done, total: bars.update(
            bar, description=what, completed=done, total=total
        )
        embedding = estimator.fit_transform(data)
    console.print(f"{method} of {dataset}: {embedding.shape[0]} nodes, {embedding.shape[1]} columns")
    if out is not None:
        write_embedding(embedding, out)
        console.print(f"written: {out}", highlight=False)
    y = data.get("y")
    labels = None if y is None else y.numpy()
    if picture is not None:
        draw_embedding(embedding, picture, None if labels is None or labels.ndim > 1 else labels)
        console.print(f"drawn: {picture}", highlight=False)
    if evaluate:
        if labels is not None:
            console.print(_classes(embedding, labels, shuffles, C, seed))
        if links or labels is None:
            console.print(_links(estimator, data, C, seed))


def _estimator(method: str, options: list[str], seed: int, device: str) -> NodeEmbedding:
    from gnnlib.embed.methods import make_method

    given: dict[str, Any] = {}
    for text in options:
        key, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set {text}: KEY=VALUE is expected, as in --set dim=64")
        try:
            given[key.strip()] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            given[key.strip()] = value
    return make_method(method, given, seed=seed, device=device)


def _classes(embedding: Any, labels: Any, shuffles: int, C: float, seed: int) -> Table:
    from rich.table import Table

    from gnnlib.embed import classify_nodes

    found = classify_nodes(embedding, labels, shuffles=shuffles, C=C, seed=seed)
    table = Table(title=f"F1 of logistic regression (C = {C:g}), mean of {shuffles} permutations, in %")
    for name in ("labelled", "micro", "macro"):
        table.add_column(name, justify="right")
    for fraction, scores in found.items():
        table.add_row(
            f"{100 * fraction:.0f} %", f"{100 * scores['micro_f1']:.2f}", f"{100 * scores['macro_f1']:.2f}"
        )
    return table


def _links(estimator: NodeEmbedding, data: Any, C: float, seed: int) -> Table:
    from rich.table import Table

    from gnnlib.embed import predict_links

    estimator.progress = None
    found = predict_links(estimator, data, C=C, seed=seed)
    table = Table(title="Half of the edges removed: area under the curve")
    for name in found:
        table.add_column(name, justify="right")
    table.add_row(*(f"{area:.4f}" for area in found.values()))
    return table
