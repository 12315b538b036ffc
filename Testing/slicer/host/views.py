"""Pictures of what Slicer's slice, 3D and plot views show, drawn without a display.

The nodes, logics and displayable managers are Slicer's own; only the window around them is ours.
VTK draws through EGL in software when there is no display (Debian: libegl1 and libgl1-mesa-dri).
"""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from Testing.slicer.host.scene import host

if TYPE_CHECKING:
    from pathlib import Path

    Pixels = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]

SLICE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
)
THREED_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
)
BAR_PIXELS = 6  # the colored bar above each slice view
LINE_TYPES = {  # of a plot series node -> vtkPen
    "LineStyleNone": vtk.vtkPen.NO_PEN,
    "LineStyleSolid": vtk.vtkPen.SOLID_LINE,
    "LineStyleDash": vtk.vtkPen.DASH_LINE,
    "LineStyleDot": vtk.vtkPen.DOT_LINE,
    "LineStyleDashDot": vtk.vtkPen.DASH_DOT_LINE,
    "LineStyleDashDotDot": vtk.vtkPen.DASH_DOT_DOT_LINE,
}


class _Window:
    """An offscreen render window with one renderer; kept until the process ends."""

    def __init__(self, width: int, height: int) -> None:
        self.renderer = vtk.vtkRenderer()
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkGenericRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.resize(width, height)
        atexit.register(self.window.Finalize)

    def resize(self, width: int, height: int) -> None:
        self.window.SetSize(width, height)
        self.interactor.UpdateSize(width, height)

    def managers(self, factory: Any, names: tuple[str, ...], node: Any) -> Any:
        """Slicer's displayable managers of those names, drawing that view node here."""
        for name in names:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        group = slicer.vtkMRMLDisplayableManagerGroup()
        group.Initialize(factory, self.renderer)
        group.SetMRMLDisplayableNode(node)
        return group

    def pixels(self) -> Pixels:
        """What is drawn now, (H, W, 3) with the first row at the top."""
        self.window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.ReadFrontBufferOff()
        grab.Update()
        image = grab.GetOutput()
        width, height, _ = image.GetDimensions()
        flat = vtk_to_numpy(image.GetPointData().GetScalars())
        return flat.reshape(height, width, 3)[::-1].copy()


class SliceView:
    """One of the slice views Red, Green, Yellow, as Slicer draws it.

    What it shows is what the scene says: the slice composite node (background, foreground and
    their opacities), the segmentations with their 2D outline and fill, markups, color legends and
    the crosshair. Views of one name share one window.
    """

    _windows: dict[str, tuple[_Window, Any, Any]] = {}  # noqa: RUF012 one window per name, on purpose

    def __init__(self, name: str = "Red", size: tuple[int, int] = (512, 512)) -> None:
        self.logic = host().slice_logics[name]
        self.node, self.composite = self.logic.GetSliceNode(), self.logic.GetSliceCompositeNode()
        if name not in self._windows:
            window = _Window(*size)
            factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
            managers = window.managers(factory, SLICE_MANAGERS, self.node)
            mapper = vtk.vtkImageMapper()
            mapper.SetColorWindow(255)
            mapper.SetColorLevel(127.5)
            layers = vtk.vtkActor2D()
            layers.SetMapper(mapper)
            layers.GetProperty().SetDisplayLocationToBackground()
            window.renderer.AddViewProp(layers)
            self._windows[name] = (window, managers, layers)
        self._window, self.managers, self._layers = self._windows[name]
        self._window.resize(*size)
        self.logic.ResizeSliceNode(*size)

    def fit(self) -> SliceView:
        """Show the whole background volume, at its middle slice."""
        self.logic.FitSliceToBackground()
        return self

    def pixel_of(self, ras: tuple[float, float, float]) -> tuple[int, int]:
        """Row and column in the picture of a point in RAS millimeters."""
        matrix = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self.node.GetXYToRAS(), matrix)
        x, y, _, _ = matrix.MultiplyPoint((*ras, 1.0))
        return self._window.window.GetSize()[1] - 1 - round(y), round(x)

    def render(self) -> Pixels:
        """The picture, (H, W, 3) with the first row at the top."""
        self.logic.UpdatePipeline()
        shown = self.logic.GetImageDataConnection()  # None where no layer has a volume
        self._layers.SetVisibility(shown is not None)
        self._layers.GetMapper().SetInputConnection(shown)
        return self._window.pixels()

    def save(self, path: Path | str) -> None:
        """Write the picture as PNG."""
        save_png(path, self.render())


class ThreeDView:
    """The 3D view: surfaces of segmentations that have one, models, markups."""

    _window: tuple[_Window, Any] | None = None

    def __init__(self, size: tuple[int, int] = (512, 512)) -> None:
        self.node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLViewNode")
        if ThreeDView._window is None:
            window = _Window(*size)
            window.renderer.GradientBackgroundOn()
            window.renderer.SetBackground(self.node.GetBackgroundColor())
            window.renderer.SetBackground2(self.node.GetBackgroundColor2())
            factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
            managers = window.managers(factory, THREED_MANAGERS, self.node)
            ThreeDView._window = (window, managers)
        self.window, self.managers = ThreeDView._window
        self.window.resize(*size)

    def render(self, *, azimuth_deg: float = 30, elevation_deg: float = 20) -> Pixels:
        """The picture, seen from the front, turned left and up by those angles."""
        self.node.InvokeEvent(self.node.ResetFocalPointRequestedEvent)  # the box follows the data
        camera = self.window.renderer.GetActiveCamera()
        camera.SetFocalPoint(0, 0, 0)
        camera.SetPosition(0, 500, 0)
        camera.SetViewUp(0, 0, 1)
        camera.Azimuth(-azimuth_deg)
        camera.Elevation(elevation_deg)
        self.window.renderer.ResetCamera()
        camera.Zoom(1.1)
        self.window.renderer.ResetCameraClippingRange()
        return self.window.pixels()

    def save(self, path: Path | str) -> None:
        """Write the picture as PNG."""
        save_png(path, self.render())


def open_all() -> None:
    """Make the windows of all views; drawing starts when a picture is asked for."""
    for name in host().slice_logics:
        SliceView(name)
    ThreeDView()


def layout(path: Path | str, *, size: tuple[int, int] = (400, 400), threed: bool = False) -> Pixels:
    """Write one picture of the three slice views (and the 3D view) and return it.

    Three views stand side by side; with the 3D view they stand two by two, as in Slicer's
    four-up layout.
    """
    colors = {"Red": (243, 74, 51), "Green": (111, 179, 91), "Yellow": (237, 213, 76)}
    tiles = {}
    for name, color in colors.items():
        bar = np.full((BAR_PIXELS, size[0], 3), color, np.uint8)
        tiles[name] = np.vstack([bar, SliceView(name, size).render()])
    if threed:
        bar = np.full((BAR_PIXELS, size[0], 3), (116, 120, 190), np.uint8)
        tiles["1"] = np.vstack([bar, ThreeDView(size).render()])
        top, bottom = ("Red", "1"), ("Green", "Yellow")
        picture = np.vstack([np.hstack([tiles[n] for n in row]) for row in (top, bottom)])
    else:
        picture = np.hstack(list(tiles.values()))
    save_png(path, picture)
    return picture


def plot(chart: Any, path: Path | str, *, size: tuple[int, int] = (640, 400)) -> Pixels:
    """Write the picture that Slicer's plot view gives of a vtkMRMLPlotChartNode and return it."""
    view = vtk.vtkContextView()
    view.GetRenderWindow().SetOffScreenRendering(1)
    view.GetRenderWindow().SetSize(*size)
    view.GetRenderer().SetBackground(1, 1, 1)
    shown = vtk.vtkChartXY()
    view.GetScene().AddItem(shown)
    for index in range(chart.GetNumberOfPlotSeriesNodes()):
        _add_series(shown, chart.GetNthPlotSeriesNode(index))
    shown.SetTitle(chart.GetTitle() or "" if chart.GetTitleVisibility() else "")
    shown.GetTitleProperties().SetFontSize(chart.GetTitleFontSize())
    shown.SetShowLegend(chart.GetLegendVisibility())
    shown.GetLegend().GetLabelProperties().SetFontSize(chart.GetLegendFontSize())
    for letter, axis_id in (("X", vtk.vtkAxis.BOTTOM), ("Y", vtk.vtkAxis.LEFT)):
        _set_axis(shown.GetAxis(axis_id), letter, chart)
    window = view.GetRenderWindow()
    window.SetMultiSamples(4)
    window.Render()
    picture = _Window.pixels(_Held(window))
    window.Finalize()
    save_png(path, picture)
    return picture


class _Held:
    """A window that somebody else made, for _Window.pixels."""

    def __init__(self, window: Any) -> None:
        self.window = window


def _add_series(shown: Any, series: Any) -> None:
    """One line or bar plot; a series without its table or columns is left out, as Slicer does."""
    node = series.GetTableNode() if series else None
    table = node.GetTable() if node else None
    if table is None or table.GetColumnByName(series.GetYColumnName() or "") is None:
        return
    bars = series.GetPlotType() in (series.PlotTypeBar, series.PlotTypeScatterBar)
    line = shown.AddPlot(vtk.vtkChart.BAR if bars else vtk.vtkChart.LINE)
    x_name = series.GetXColumnName()
    if series.IsXColumnRequired():
        if table.GetColumnByName(x_name or "") is None:
            shown.RemovePlotInstance(line)
            return
        line.SetInputData(table, x_name, series.GetYColumnName())
    else:
        line.SetUseIndexForXSeries(True)
        line.SetInputData(table, series.GetYColumnName(), series.GetYColumnName())
    line.SetWidth(series.GetLineWidth())
    line.SetColorF(*series.GetColor())
    line.GetPen().SetOpacityF(series.GetOpacity())
    line.SetLabel(series.GetName())
    if not bars:
        styles = {getattr(series, name): pen for name, pen in LINE_TYPES.items()}
        line.GetPen().SetLineType(styles[series.GetLineStyle()])
        markers = ("None", "Cross", "Plus", "Square", "Circle", "Diamond")  # numbered as in VTK
        line.SetMarkerStyle(
            [getattr(series, f"MarkerStyle{m}") for m in markers].index(series.GetMarkerStyle())
        )
        line.SetMarkerSize(series.GetMarkerSize())


def _set_axis(axis: Any, letter: str, chart: Any) -> None:
    """Title, scale, range, grid and fonts of the axis X or Y."""

    def of(name: str) -> Any:
        return getattr(chart, f"Get{letter}Axis{name}")()

    axis.SetTitle((of("Title") or "") if of("TitleVisibility") else "")
    axis.SetLogScale(of("LogScale"))
    if not of("RangeAuto"):
        axis.SetBehavior(vtk.vtkAxis.FIXED)
        axis.SetUnscaledRange(*of("Range"))
    axis.SetGridVisible(chart.GetGridVisibility())
    axis.GetTitleProperties().SetFontSize(chart.GetAxisTitleFontSize())
    axis.GetLabelProperties().SetFontSize(chart.GetAxisLabelFontSize())


def save_png(path: Path | str, picture: Pixels) -> None:
    """Write (H, W, 3) uint8 as PNG."""
    height, width, _ = picture.shape
    image = vtk.vtkImageData()
    image.SetDimensions(width, height, 1)
    flat = np.ascontiguousarray(picture[::-1]).reshape(-1, 3)
    image.GetPointData().SetScalars(numpy_to_vtk(flat, deep=True))
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(image)
    writer.Write()
