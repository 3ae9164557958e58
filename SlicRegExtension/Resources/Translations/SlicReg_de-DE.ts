<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE TS>
<TS version="2.1" language="de-DE">
<context>
    <name>SlicReg</name>
    <message>
        <source>SlicReg</source>
        <translation>SlicReg</translation>
    </message>
    <message>
        <source>Aligns a CT scan (the target) with a reference scan of another patient (the template), without landmarks. Organs that were outlined on the template are carried to the target. Choose a target, and a template unless the model has its own, then press Apply. The result says whether it can be used, and where to look. &lt;p&gt;&lt;a href=&quot;{homepage}/blob/main/docs/slicer.md&quot;&gt;Documentation&lt;/a&gt;, &lt;a href=&quot;{homepage}/blob/main/docs/tutorial.md&quot;&gt;tutorial&lt;/a&gt;, &lt;a href=&quot;{homepage}/issues&quot;&gt;questions and problems&lt;/a&gt;.&lt;/p&gt;</source>
        <translation>Richtet eine CT-Aufnahme (das Zielbild) an der Aufnahme eines anderen Patienten (der Referenz) aus, ohne Landmarken. Organe, die auf der Referenz eingezeichnet wurden, werden auf das Zielbild übertragen. Ein Zielbild wählen und eine Referenz, wenn das Modell keine eigene hat, dann „Anwenden“ drücken. Das Ergebnis sagt, ob es brauchbar ist und wohin man sehen sollte. &lt;p&gt;&lt;a href=&quot;{homepage}/blob/main/docs/slicer.md&quot;&gt;Dokumentation&lt;/a&gt;, &lt;a href=&quot;{homepage}/blob/main/docs/tutorial.md&quot;&gt;Anleitung&lt;/a&gt;, &lt;a href=&quot;{homepage}/issues&quot;&gt;Fragen und Probleme&lt;/a&gt;.&lt;/p&gt;</translation>
    </message>
    <message>
        <source>The method is Slic-Reg: &lt;a href=&quot;{paper}&quot;&gt;M. P. Heinrich, Medical Imaging with Deep Learning, 2021&lt;/a&gt;. Contributors: &lt;a href=&quot;{homepage}/graphs/contributors&quot;&gt;list&lt;/a&gt;.</source>
        <translation>Das Verfahren ist Slic-Reg: &lt;a href=&quot;{paper}&quot;&gt;M. P. Heinrich, Medical Imaging with Deep Learning, 2021&lt;/a&gt;. Mitwirkende: &lt;a href=&quot;{homepage}/graphs/contributors&quot;&gt;Liste&lt;/a&gt;.</translation>
    </message>
    <message>
        <source>{name} was skipped: {reason}</source>
        <translation>{name} wurde übersprungen: {reason}</translation>
    </message>
    <message>
        <source>the Python packages are not installed</source>
        <translation>die Python-Pakete sind nicht installiert</translation>
    </message>
    <message>
        <source>Registering the phantom pair</source>
        <translation>Das Phantom-Paar wird registriert</translation>
    </message>
    <message>
        <source>Registration</source>
        <translation>Registrierung</translation>
    </message>
    <message>
        <source>Inputs</source>
        <translation>Eingaben</translation>
    </message>
    <message>
        <source>Template volume:</source>
        <translation>Referenzbild:</translation>
    </message>
    <message>
        <source>Template segmentation:</source>
        <translation>Segmentierung der Referenz:</translation>
    </message>
    <message>
        <source>Optional. Segments of the template, to be transferred to the target.</source>
        <translation>Optional. Segmente der Referenz, die auf das Zielbild übertragen werden.</translation>
    </message>
    <message>
        <source>None</source>
        <translation>Keine</translation>
    </message>
    <message>
        <source>Target volume:</source>
        <translation>Zielbild:</translation>
    </message>
    <message>
        <source>The moving CT scan. It is registered to the template.</source>
        <translation>Die bewegte CT-Aufnahme. Sie wird auf die Referenz registriert.</translation>
    </message>
    <message>
        <source>Target segmentation:</source>
        <translation>Segmentierung des Zielbilds:</translation>
    </message>
    <message>
        <source>Optional. The target&apos;s own segments, named like the template&apos;s. Dice and HD95 are measured with them.</source>
        <translation>Optional. Eigene Segmente des Zielbilds mit denselben Namen wie in der Referenz. Mit ihnen werden Dice und HD95 gemessen.</translation>
    </message>
    <message>
        <source>Model:</source>
        <translation>Modell:</translation>
    </message>
    <message>
        <source>The trained network. Automatic takes the one that finds most of its supervoxels in both scans.</source>
        <translation>Das trainierte Netz. „Automatisch“ nimmt dasjenige, das in beiden Aufnahmen die meisten seiner Supervoxel findet.</translation>
    </message>
    <message>
        <source>Model details</source>
        <translation>Einzelheiten zum Modell</translation>
    </message>
    <message>
        <source>Add model file...</source>
        <translation>Modelldatei hinzufügen...</translation>
    </message>
    <message>
        <source>Copy a .slicreg file to your model folder.</source>
        <translation>Eine .slicreg-Datei in den eigenen Modellordner kopieren.</translation>
    </message>
    <message>
        <source>Remove</source>
        <translation>Entfernen</translation>
    </message>
    <message>
        <source>Delete the selected model from your model folder. Bundled models cannot be deleted.</source>
        <translation>Das gewählte Modell aus dem eigenen Modellordner löschen. Mitgelieferte Modelle können nicht gelöscht werden.</translation>
    </message>
    <message>
        <source>Add two synthetic trunks with their organs to the scene, and choose them.</source>
        <translation>Zwei künstliche Rümpfe mit ihren Organen in die Szene laden und auswählen.</translation>
    </message>
    <message>
        <source>Load sample data</source>
        <translation>Beispieldaten laden</translation>
    </message>
    <message>
        <source>Outputs</source>
        <translation>Ausgaben</translation>
    </message>
    <message>
        <source>Transform:</source>
        <translation>Transformation:</translation>
    </message>
    <message>
        <source>Keep the transform that brings the target to the template.</source>
        <translation>Die Transformation behalten, die das Zielbild auf die Referenz bringt.</translation>
    </message>
    <message>
        <source>Apply this transform to the target to align it with the template.</source>
        <translation>Diese Transformation auf das Zielbild anwenden, um es an der Referenz auszurichten.</translation>
    </message>
    <message>
        <source>Create new</source>
        <translation>Neu anlegen</translation>
    </message>
    <message>
        <source>Target to template</source>
        <translation>Zielbild zu Referenz</translation>
    </message>
    <message>
        <source>Inverse transform:</source>
        <translation>Umgekehrte Transformation:</translation>
    </message>
    <message>
        <source>Keep the transform that brings the template to the target.</source>
        <translation>Die Transformation behalten, die die Referenz auf das Zielbild bringt.</translation>
    </message>
    <message>
        <source>Apply this transform to the template, its segmentation, models or points to align them with the target.</source>
        <translation>Diese Transformation auf die Referenz, ihre Segmentierung, Oberflächen oder Punkte anwenden, um sie am Zielbild auszurichten.</translation>
    </message>
    <message>
        <source>Warped target:</source>
        <translation>Verformtes Zielbild:</translation>
    </message>
    <message>
        <source>Keep the target as it was resampled on the template.</source>
        <translation>Das auf das Gitter der Referenz umgerechnete Zielbild behalten.</translation>
    </message>
    <message>
        <source>The target, resampled on the template&apos;s grid.</source>
        <translation>Das Zielbild, umgerechnet auf das Gitter der Referenz.</translation>
    </message>
    <message>
        <source>Segmentation on target:</source>
        <translation>Segmentierung auf dem Zielbild:</translation>
    </message>
    <message>
        <source>Keep the template&apos;s segments as they were carried to the target.</source>
        <translation>Die auf das Zielbild übertragenen Segmente der Referenz behalten.</translation>
    </message>
    <message>
        <source>The template&apos;s segments on the target&apos;s grid.</source>
        <translation>Die Segmente der Referenz auf dem Gitter des Zielbilds.</translation>
    </message>
    <message>
        <source>Confidence map:</source>
        <translation>Karte der Sicherheit:</translation>
    </message>
    <message>
        <source>Keep the map that says how well the transform agrees with the network.</source>
        <translation>Die Karte behalten, die zeigt, wie gut die Transformation mit dem Netz übereinstimmt.</translation>
    </message>
    <message>
        <source>For each voxel of the template, from 0 to 1: how well the transform agrees with the position that the network expects. 0.5 means a difference of 10 mm.</source>
        <translation>Für jedes Voxel der Referenz von 0 bis 1: wie gut die Transformation mit der Lage übereinstimmt, die das Netz erwartet. 0,5 bedeutet einen Unterschied von 10 mm.</translation>
    </message>
    <message>
        <source>Advanced</source>
        <translation>Erweitert</translation>
    </message>
    <message>
        <source>Device:</source>
        <translation>Gerät:</translation>
    </message>
    <message>
        <source>Preset:</source>
        <translation>Voreinstellung:</translation>
    </message>
    <message>
        <source>Iterations:</source>
        <translation>Iterationen:</translation>
    </message>
    <message>
        <source>Regularisation:</source>
        <translation>Regularisierung:</translation>
    </message>
    <message>
        <source>Neighbours:</source>
        <translation>Nachbarn:</translation>
    </message>
    <message>
        <source>Seed:</source>
        <translation>Startwert:</translation>
    </message>
    <message>
        <source>Refine on image features</source>
        <translation>Anhand von Bildmerkmalen verfeinern</translation>
    </message>
    <message>
        <source>Check installation</source>
        <translation>Installation prüfen</translation>
    </message>
    <message>
        <source>The fixed CT scan, with which the target is aligned. Without one it is the template that the model holds, with its organs.</source>
        <translation>Die feste CT-Aufnahme, an der das Zielbild ausgerichtet wird. Ohne eine ist es die Referenz, die das Modell enthält, mit ihren Organen.</translation>
    </message>
    <message>
        <source>The model&apos;s own</source>
        <translation>Die des Modells</translation>
    </message>
    <message>
        <source>Load the model&apos;s template</source>
        <translation>Referenz des Modells laden</translation>
    </message>
    <message>
        <source>Add the template that the model holds, such as the average of its cohort, to the scene, with its segmentation.</source>
        <translation>Die Referenz, die das Modell enthält, etwa den Durchschnitt seiner Kohorte, mit ihrer Segmentierung der Szene hinzufügen.</translation>
    </message>
    <message>
        <source>Test each device in a separate process. Problems are reported with their solutions.</source>
        <translation>Jedes Gerät in einem eigenen Prozess prüfen. Probleme werden mit ihrer Lösung gemeldet.</translation>
    </message>
    <message>
        <source>Apply</source>
        <translation>Anwenden</translation>
    </message>
    <message>
        <source>Choose a template and a target.</source>
        <translation>Bitte Referenz und Zielbild wählen.</translation>
    </message>
    <message>
        <source>Cancel</source>
        <translation>Abbrechen</translation>
    </message>
    <message>
        <source>Stop the registration. The scene stays unchanged.</source>
        <translation>Die Registrierung abbrechen. Die Szene bleibt unverändert.</translation>
    </message>
    <message>
        <source>Result</source>
        <translation>Ergebnis</translation>
    </message>
    <message>
        <source>Whether the registration can be used, from what both scans have in common, the supervoxels found and the confidence.</source>
        <translation>Ob die Registrierung brauchbar ist, nach dem gemeinsamen Bildbereich beider Aufnahmen, den gefundenen Supervoxeln und der Sicherheit.</translation>
    </message>
    <message>
        <source>Register two scans to see measurements here.</source>
        <translation>Nach einer Registrierung stehen hier die Messwerte.</translation>
    </message>
    <message>
        <source>Copy table</source>
        <translation>Tabelle kopieren</translation>
    </message>
    <message>
        <source>Copy the table, to be pasted into a spreadsheet.</source>
        <translation>Die Tabelle kopieren, um sie in eine Tabellenkalkulation einzufügen.</translation>
    </message>
    <message>
        <source>Export table...</source>
        <translation>Tabelle exportieren...</translation>
    </message>
    <message>
        <source>Save the table as a CSV file.</source>
        <translation>Die Tabelle als CSV-Datei speichern.</translation>
    </message>
    <message>
        <source>Side by side</source>
        <translation>Nebeneinander</translation>
    </message>
    <message>
        <source>Above the template with its segments, below the target with the segments carried to it. The views move together.</source>
        <translation>Oben die Referenz mit ihren Segmenten, unten das Zielbild mit den übertragenen Segmenten. Die Ansichten bewegen sich gemeinsam.</translation>
    </message>
    <message>
        <source>On target</source>
        <translation>Auf dem Zielbild</translation>
    </message>
    <message>
        <source>The target where it lies, with the segments carried to it.</source>
        <translation>Das Zielbild an seinem Ort, mit den übertragenen Segmenten.</translation>
    </message>
    <message>
        <source>On template</source>
        <translation>Auf der Referenz</translation>
    </message>
    <message>
        <source>The target, warped to the template, with the template&apos;s segments.</source>
        <translation>Das auf die Referenz verformte Zielbild mit den Segmenten der Referenz.</translation>
    </message>
    <message>
        <source>3D</source>
        <translation>3D</translation>
    </message>
    <message>
        <source>The template&apos;s segments and the carried ones as surfaces beside each other. Needs a template segmentation.</source>
        <translation>Die Segmente der Referenz und die übertragenen als Oberflächen nebeneinander. Dazu wird eine Segmentierung der Referenz gebraucht.</translation>
    </message>
    <message>
        <source>Blend</source>
        <translation>Überblendung</translation>
    </message>
    <message>
        <source>Show template and warped target on top of each other.</source>
        <translation>Referenz und verformtes Zielbild übereinander zeigen.</translation>
    </message>
    <message>
        <source>Flicker</source>
        <translation>Wechsel</translation>
    </message>
    <message>
        <source>Alternate between template and warped target.</source>
        <translation>Referenz und verformtes Zielbild abwechselnd zeigen.</translation>
    </message>
    <message>
        <source>Checkerboard</source>
        <translation>Schachbrett</translation>
    </message>
    <message>
        <source>Show template and warped target as a checkerboard.</source>
        <translation>Referenz und verformtes Zielbild als Schachbrett zeigen.</translation>
    </message>
    <message>
        <source>Difference</source>
        <translation>Differenz</translation>
    </message>
    <message>
        <source>Show template minus warped target, in HU.</source>
        <translation>Referenz minus verformtes Zielbild in HU zeigen.</translation>
    </message>
    <message>
        <source>Confidence</source>
        <translation>Sicherheit</translation>
    </message>
    <message>
        <source>Show over the template how well the transform agrees with the network.</source>
        <translation>Über der Referenz zeigen, wie gut die Transformation mit dem Netz übereinstimmt.</translation>
    </message>
    <message>
        <source>Displacement</source>
        <translation>Verschiebung</translation>
    </message>
    <message>
        <source>Show over the template how far the transform moves each place, in mm.</source>
        <translation>Über der Referenz zeigen, wie weit die Transformation jede Stelle verschiebt, in mm.</translation>
    </message>
    <message>
        <source>Jacobian</source>
        <translation>Jacobi</translation>
    </message>
    <message>
        <source>Show over the template where the transform shrinks, enlarges or folds: the determinant of its Jacobian, 1 where the volume stays.</source>
        <translation>Über der Referenz zeigen, wo die Transformation verkleinert, vergrößert oder faltet: ihre Jacobi-Determinante; 1, wo das Volumen bleibt.</translation>
    </message>
    <message>
        <source>Deformed grid</source>
        <translation>Verformtes Gitter</translation>
    </message>
    <message>
        <source>Add the transform as a deformed grid to the views of the template, inside the body.</source>
        <translation>Die Transformation als verformtes Gitter in die Ansichten der Referenz einzeichnen, innerhalb des Körpers.</translation>
    </message>
    <message>
        <source>Supervoxels</source>
        <translation>Supervoxel</translation>
    </message>
    <message>
        <source>Show the supervoxels that the network found in the target, over the target.</source>
        <translation>Die Supervoxel, die das Netz im Zielbild gefunden hat, über dem Zielbild zeigen.</translation>
    </message>
    <message>
        <source>Least sure place</source>
        <translation>Unsicherste Stelle</translation>
    </message>
    <message>
        <source>Centre the slice views on a place of the template where the transform agrees least with the network. Press again for the next one.</source>
        <translation>Die Schichten auf eine Stelle der Referenz einstellen, an der die Transformation am wenigsten mit dem Netz übereinstimmt. Nochmals drücken für die nächste.</translation>
    </message>
    <message>
        <source>Save a film...</source>
        <translation>Film speichern ...</translation>
    </message>
    <message>
        <source>Save a film of this result: the target&apos;s slices with the segments before and after the registration, and a turning view of its bones. Slicer stays usable meanwhile.</source>
        <translation>Einen Film dieses Ergebnisses speichern: die Schichten des Zielbilds mit den Segmenten vor und nach der Registrierung und seine Knochen, die sich drehen. Slicer bleibt währenddessen benutzbar.</translation>
    </message>
    <message>
        <source>Apply transform to the target</source>
        <translation>Transformation auf das Zielbild anwenden</translation>
    </message>
    <message>
        <source>Put the target, its segments and the carried ones under the transform, so that they lie on the template; clear it to take them off. The next registration takes them off first.</source>
        <translation>Das Zielbild, seine Segmente und die übertragenen unter die Transformation stellen, sodass sie auf der Referenz liegen; abwählen, um sie wieder zu lösen. Die nächste Registrierung löst sie zuerst.</translation>
    </message>
    <message>
        <source>Points and models</source>
        <translation>Punkte und Oberflächen</translation>
    </message>
    <message>
        <source>Markups or model:</source>
        <translation>Markierungen oder Oberfläche:</translation>
    </message>
    <message>
        <source>Points, lines, curves or a surface model on one of the scans.</source>
        <translation>Punkte, Linien, Kurven oder ein Oberflächenmodell auf einer der Aufnahmen.</translation>
    </message>
    <message>
        <source>The transform of a registration, or its inverse.</source>
        <translation>Die Transformation einer Registrierung oder ihre Umkehrung.</translation>
    </message>
    <message>
        <source>Direction:</source>
        <translation>Richtung:</translation>
    </message>
    <message>
        <source>On which scan the markups or the model lie, and where they are carried.</source>
        <translation>Auf welcher Aufnahme die Markierungen oder die Oberfläche liegen und wohin sie übertragen werden.</translation>
    </message>
    <message>
        <source>Carry</source>
        <translation>Übertragen</translation>
    </message>
    <message>
        <source>Make a copy where the transform takes it. The original stays as it is.</source>
        <translation>Eine Kopie dort anlegen, wohin die Transformation sie bringt. Das Original bleibt, wie es ist.</translation>
    </message>
    <message>
        <source>Log</source>
        <translation>Protokoll</translation>
    </message>
    <message>
        <source>Save log...</source>
        <translation>Protokoll speichern...</translation>
    </message>
    <message>
        <source>Save log, options and versions to a file for a bug report.</source>
        <translation>Protokoll, Optionen und Versionen für eine Fehlermeldung in eine Datei speichern.</translation>
    </message>
    <message>
        <source>Batch</source>
        <translation>Stapel</translation>
    </message>
    <message>
        <source>Registers many scans to the template, with the model and options of the Registration tab. Run a stopped batch again to resume it.</source>
        <translation>Registriert viele Aufnahmen auf die Referenz, mit Modell und Optionen des Reiters „Registrierung“. Ein angehaltener Stapel wird beim nächsten Start fortgesetzt.</translation>
    </message>
    <message>
        <source>Use all other volumes in the scene instead of a folder</source>
        <translation>Alle anderen Bilder der Szene statt eines Ordners verwenden</translation>
    </message>
    <message>
        <source>Register every scalar volume in the scene except the template.</source>
        <translation>Jedes Bild der Szene außer der Referenz registrieren.</translation>
    </message>
    <message>
        <source>Folder of scans:</source>
        <translation>Ordner mit Aufnahmen:</translation>
    </message>
    <message>
        <source>Folder with NIfTI, NRRD or MHA files.</source>
        <translation>Ordner mit NIfTI-, NRRD- oder MHA-Dateien.</translation>
    </message>
    <message>
        <source>Labels (optional):</source>
        <translation>Labels (optional):</translation>
    </message>
    <message>
        <source>Folder of label maps with the names of the scans, to measure Dice against the template segmentation. The numbers in the files are those of the template&apos;s labels. Scans of the scene are compared by their own segmentations.</source>
        <translation>Ordner mit Labelbildern, die wie die Aufnahmen heißen, um Dice gegen die Segmentierung der Referenz zu messen. Die Zahlen in den Dateien sind die der Labels der Referenz. Bilder der Szene werden anhand ihrer eigenen Segmentierungen verglichen.</translation>
    </message>
    <message>
        <source>Output folder:</source>
        <translation>Ausgabeordner:</translation>
    </message>
    <message>
        <source>Folder for the results: one subfolder per scan, and the table results.csv.</source>
        <translation>Ordner für die Ergebnisse: ein Unterordner je Aufnahme und die Tabelle results.csv.</translation>
    </message>
    <message>
        <source>Run batch</source>
        <translation>Stapel starten</translation>
    </message>
    <message>
        <source>Stop</source>
        <translation>Anhalten</translation>
    </message>
    <message>
        <source>Cancel the current scan. Run the batch again to resume.</source>
        <translation>Die laufende Aufnahme abbrechen. Zum Fortsetzen den Stapel nochmals starten.</translation>
    </message>
    <message>
        <source>Contact sheet</source>
        <translation>Bildübersicht</translation>
    </message>
    <message>
        <source>Open a page with the pictures of all results in the browser, the worst first.</source>
        <translation>Eine Seite mit den Bildern aller Ergebnisse im Browser öffnen, die schlechtesten zuerst.</translation>
    </message>
    <message>
        <source>Open folder</source>
        <translation>Ordner öffnen</translation>
    </message>
    <message>
        <source>Open the folder of the chosen scan, or that of all results.</source>
        <translation>Den Ordner der gewählten Aufnahme oder den aller Ergebnisse öffnen.</translation>
    </message>
    <message>
        <source>Load result</source>
        <translation>Ergebnis laden</translation>
    </message>
    <message>
        <source>Load transform, warped volume and carried segmentation of the chosen scan into the scene.</source>
        <translation>Transformation, verformtes Bild und übertragene Segmentierung der gewählten Aufnahme in die Szene laden.</translation>
    </message>
    <message>
        <source>Training</source>
        <translation>Training</translation>
    </message>
    <message>
        <source>Trains a model for a new anatomy from a folder of scans. Without a template, the average of the scans becomes the template, and the model then needs no other scan. No labels are needed; what labels of some scans agree on goes into the model. The training runs in the background, continues when Slicer is closed, and can be stopped and resumed.</source>
        <translation>Trainiert aus einem Ordner mit Aufnahmen ein Modell für eine neue Körperregion. Ohne Referenz wird der Durchschnitt der Aufnahmen zur Referenz, und das Modell braucht dann keine andere Aufnahme. Labels sind nicht nötig; worin Labels einiger Aufnahmen übereinstimmen, kommt ins Modell. Das Training läuft im Hintergrund, geht weiter, wenn Slicer geschlossen wird, und kann angehalten und fortgesetzt werden.</translation>
    </message>
    <message>
        <source>Optional. Template scan of the scene: a typical patient, completely in view. It is written into the job folder. Without a template the cohort&apos;s average becomes the template.</source>
        <translation>Optional. Referenzaufnahme aus der Szene: ein typischer Patient, vollständig im Bild. Sie wird in den Arbeitsordner geschrieben. Ohne Referenz wird der Durchschnitt der Kohorte zur Referenz.</translation>
    </message>
    <message>
        <source>None: the file below, or the cohort&apos;s average</source>
        <translation>Keine: die Datei unten oder der Durchschnitt der Kohorte</translation>
    </message>
    <message>
        <source>Scans and model</source>
        <translation>Aufnahmen und Modell</translation>
    </message>
    <message>
        <source>or template file:</source>
        <translation>oder Referenzdatei:</translation>
    </message>
    <message>
        <source>Scans:</source>
        <translation>Aufnahmen:</translation>
    </message>
    <message>
        <source>Job folder:</source>
        <translation>Arbeitsordner:</translation>
    </message>
    <message>
        <source>All files of the training. Select an existing folder to monitor or resume it.</source>
        <translation>Alle Dateien des Trainings. Ein vorhandener Ordner zeigt sein Training, das dann fortgesetzt werden kann.</translation>
    </message>
    <message>
        <source>Model name:</source>
        <translation>Name des Modells:</translation>
    </message>
    <message>
        <source>Network:</source>
        <translation>Netz:</translation>
    </message>
    <message>
        <source>Default of the network</source>
        <translation>Vorgabe des Netzes</translation>
    </message>
    <message>
        <source>Processes:</source>
        <translation>Prozesse:</translation>
    </message>
    <message>
        <source>Labels of the scans:</source>
        <translation>Labels der Aufnahmen:</translation>
    </message>
    <message>
        <source>Labels of the template:</source>
        <translation>Labels der Referenz:</translation>
    </message>
    <message>
        <source>Names of the labels:</source>
        <translation>Namen der Labels:</translation>
    </message>
    <message>
        <source>Start from model:</source>
        <translation>Ausgehen vom Modell:</translation>
    </message>
    <message>
        <source>Check scans</source>
        <translation>Aufnahmen prüfen</translation>
    </message>
    <message>
        <source>Read all scans, list the unusual ones and estimate the training time. Nothing is trained yet.</source>
        <translation>Alle Aufnahmen lesen, die auffälligen nennen und die Dauer des Trainings schätzen. Noch wird nichts trainiert.</translation>
    </message>
    <message>
        <source>Start</source>
        <translation>Starten</translation>
    </message>
    <message>
        <source>Train in the background, or resume a stopped training.</source>
        <translation>Im Hintergrund trainieren oder ein angehaltenes Training fortsetzen.</translation>
    </message>
    <message>
        <source>Pause</source>
        <translation>Pause</translation>
    </message>
    <message>
        <source>Pause the training. It keeps its memory. Press again to continue.</source>
        <translation>Das Training unterbrechen. Es behält seinen Speicher. Nochmals drücken, um fortzufahren.</translation>
    </message>
    <message>
        <source>Stop the training. Start resumes it.</source>
        <translation>Das Training anhalten. „Starten“ setzt es fort.</translation>
    </message>
    <message>
        <source>Show curves</source>
        <translation>Kurven zeigen</translation>
    </message>
    <message>
        <source>Plot training and validation loss. The plot follows the training.</source>
        <translation>Trainings- und Validierungsverlust als Kurven zeigen. Sie folgen dem Training.</translation>
    </message>
    <message>
        <source>Open report</source>
        <translation>Bericht öffnen</translation>
    </message>
    <message>
        <source>Open the training report in the browser: how accurate the model is and how it was made.</source>
        <translation>Den Bericht über das Training im Browser öffnen: wie genau das Modell ist und wie es entstand.</translation>
    </message>
    <message>
        <source>Use this model now</source>
        <translation>Dieses Modell jetzt verwenden</translation>
    </message>
    <message>
        <source>Choose the finished model on the Registration tab.</source>
        <translation>Das fertige Modell im Reiter „Registrierung“ auswählen.</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.batch_results</name>
    <message>
        <source>{name} has no result yet; run the batch first.</source>
        <translation>{name} hat noch kein Ergebnis; bitte zuerst den Stapel starten.</translation>
    </message>
    <message>
        <source>{name} to template</source>
        <translation>{name} zu Referenz</translation>
    </message>
    <message>
        <source>Template to {name}</source>
        <translation>Referenz zu {name}</translation>
    </message>
    <message>
        <source>{name} on template</source>
        <translation>{name} auf Referenz</translation>
    </message>
    <message>
        <source>Template segments on {name}</source>
        <translation>Segmente der Referenz auf {name}</translation>
    </message>
    <message>
        <source>{name} segmentation</source>
        <translation>{name} Segmentierung</translation>
    </message>
    <message>
        <source>{path} is missing or damaged; run the batch again.</source>
        <translation>{path} fehlt oder ist beschädigt; bitte den Stapel nochmals starten.</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.batch_results_view</name>
    <message>
        <source>Before → after the registration.</source>
        <translation>Vor → nach der Registrierung.</translation>
    </message>
    <message>
        <source>The output folder does not exist yet.</source>
        <translation>Den Ausgabeordner gibt es noch nicht.</translation>
    </message>
    <message>
        <source>No batch has run in this folder.</source>
        <translation>In diesem Ordner ist noch kein Stapel gelaufen.</translation>
    </message>
    <message>
        <source>Choose a scan in the table.</source>
        <translation>Bitte eine Aufnahme in der Tabelle wählen.</translation>
    </message>
    <message>
        <source>This scan has no result.</source>
        <translation>Diese Aufnahme hat kein Ergebnis.</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.batch_tab</name>
    <message>
        <source>Register all scans to the template, one after another.</source>
        <translation>Alle Aufnahmen nacheinander auf die Referenz registrieren.</translation>
    </message>
    <message>
        <source>Segment all scans by the model&apos;s own template, one after another.</source>
        <translation>Alle Aufnahmen nacheinander mit der Referenz des Modells segmentieren.</translation>
    </message>
    <message>
        <source>Choose a template volume and a model on the Registration tab.</source>
        <translation>Bitte im Reiter „Registrierung“ ein Referenzbild und ein Modell wählen.</translation>
    </message>
    <message>
        <source>Choose the scans and an output folder.</source>
        <translation>Bitte die Aufnahmen und einen Ausgabeordner wählen.</translation>
    </message>
    <message>
        <source>Writing the scans of the scene: {n} of {total}.</source>
        <translation>Die Aufnahmen der Szene werden geschrieben: {n} von {total}.</translation>
    </message>
    <message>
        <source>Stopped. Run the batch again to resume.</source>
        <translation>Angehalten. Zum Fortsetzen den Stapel nochmals starten.</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.batch_words</name>
    <message>
        <source>waiting</source>
        <translation>wartet</translation>
    </message>
    <message>
        <source>running</source>
        <translation>läuft</translation>
    </message>
    <message>
        <source>done</source>
        <translation>fertig</translation>
    </message>
    <message>
        <source>failed</source>
        <translation>misslungen</translation>
    </message>
    <message>
        <source>cancelled</source>
        <translation>abgebrochen</translation>
    </message>
    <message>
        <source>1 scan</source>
        <translation>1 Aufnahme</translation>
    </message>
    <message>
        <source>{n} scans</source>
        <translation>{n} Aufnahmen</translation>
    </message>
    <message>
        <source>{scans}, {n} with labels for Dice</source>
        <translation>{scans}, {n} mit Labels für Dice</translation>
    </message>
    <message>
        <source>Choose a template segmentation on the Registration tab to measure Dice.</source>
        <translation>Um Dice zu messen, bitte im Reiter „Registrierung“ eine Segmentierung der Referenz wählen.</translation>
    </message>
    <message>
        <source>Results in the output folder: {n}; those whose scan and options are unchanged are kept.</source>
        <translation>Ergebnisse im Ausgabeordner: {n}; sie bleiben, soweit Aufnahme und Optionen unverändert sind.</translation>
    </message>
    <message>
        <source>{done} of {total} scans are done; {name} is being registered.</source>
        <translation>{done} von {total} Aufnahmen sind fertig; {name} wird registriert.</translation>
    </message>
    <message>
        <source>About {time} left.</source>
        <translation>Noch etwa {time}.</translation>
    </message>
    <message>
        <source>{n} more in the table.</source>
        <translation>{n} weitere in der Tabelle.</translation>
    </message>
    <message>
        <source>Dice</source>
        <translation>Dice</translation>
    </message>
    <message>
        <source>Scan</source>
        <translation>Aufnahme</translation>
    </message>
    <message>
        <source>State</source>
        <translation>Stand</translation>
    </message>
    <message>
        <source>Verdict</source>
        <translation>Urteil</translation>
    </message>
    <message>
        <source>What to look at</source>
        <translation>Worauf zu achten ist</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.carry</name>
    <message>
        <source>Choose markups (points, lines, curves) or a model; other nodes cannot be carried.</source>
        <translation>Bitte Markierungen (Punkte, Linien, Kurven) oder eine Oberfläche wählen; andere Knoten können nicht übertragen werden.</translation>
    </message>
    <message>
        <source>{name} is empty; choose another node.</source>
        <translation>{name} ist leer; bitte einen anderen Knoten wählen.</translation>
    </message>
    <message>
        <source>Choose the transform of a registration.</source>
        <translation>Bitte die Transformation einer Registrierung wählen.</translation>
    </message>
    <message>
        <source>{name} is under the transform {transform} already; move it out of it first.</source>
        <translation>{name} steht schon unter der Transformation {transform}; bitte zuerst herausnehmen.</translation>
    </message>
    <message>
        <source>target</source>
        <translation>Zielbild</translation>
    </message>
    <message>
        <source>template</source>
        <translation>Referenz</translation>
    </message>
    <message>
        <source>{name} on {scan}</source>
        <translation>{name} auf {scan}</translation>
    </message>
    <message>
        <source>{name} cannot be carried without the inverse transform, which is not in the scene; press Apply with both transforms among the outputs.</source>
        <translation>{name} kann ohne die umgekehrte Transformation nicht übertragen werden, die nicht in der Szene ist; bitte „Anwenden“ mit beiden Transformationen als Ausgaben drücken.</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.carry_section</name>
    <message>
        <source>From the template to the target</source>
        <translation>Von der Referenz zum Zielbild</translation>
    </message>
    <message>
        <source>From the target to the template</source>
        <translation>Vom Zielbild zur Referenz</translation>
    </message>
    <message>
        <source>Choose markups or a model.</source>
        <translation>Bitte Markierungen oder eine Oberfläche wählen.</translation>
    </message>
    <message>
        <source>Choose the transform of a registration.</source>
        <translation>Bitte die Transformation einer Registrierung wählen.</translation>
    </message>
    <message>
        <source>Made: {name}.</source>
        <translation>Angelegt: {name}.</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.checks</name>
    <message>
        <source>{what} is not chosen; choose a CT scan.</source>
        <translation>{what} ist nicht gewählt; bitte eine CT-Aufnahme wählen.</translation>
    </message>
    <message>
        <source>{what} contains no voxels; load its scan or choose another volume.</source>
        <translation>{what} enthält keine Voxel; bitte die Aufnahme laden oder ein anderes Bild wählen.</translation>
    </message>
    <message>
        <source>{what} has {n} components per voxel; choose a CT scan with one value per voxel.</source>
        <translation>{what} hat {n} Werte je Voxel; bitte eine CT-Aufnahme mit einem Wert je Voxel wählen.</translation>
    </message>
    <message>
        <source>{what} has only {size} voxels; choose a 3-D scan with at least {n} slices along each axis.</source>
        <translation>{what} hat nur {size} Voxel; bitte eine 3D-Aufnahme mit mindestens {n} Schichten je Achse wählen.</translation>
    </message>
    <message>
        <source>{what} has no segments; add some or choose another segmentation.</source>
        <translation>{what} hat keine Segmente; bitte welche hinzufügen oder eine andere Segmentierung wählen.</translation>
    </message>
    <message>
        <source>{what} ({name}) is an input or transforms one; choose another node or create a new one.</source>
        <translation>{what} ({name}) ist eine Eingabe oder transformiert eine; bitte einen anderen Knoten wählen oder einen neuen anlegen.</translation>
    </message>
    <message>
        <source>{what} is under the non-linear transform {name}; harden it or move the data out of it.</source>
        <translation>{what} steht unter der nichtlinearen Transformation {name}; bitte die Transformation fest anwenden oder die Daten herausnehmen.</translation>
    </message>
    <message>
        <source>{what} has no valid voxel-to-world matrix; set its spacing and orientation.</source>
        <translation>{what} hat keine gültige Lage im Raum; bitte Voxelgröße und Orientierung setzen.</translation>
    </message>
    <message>
        <source>{what} is sheared by gantry tilt or its parent transform; resample it to a rectangular grid, for instance with Resample Scalar/Vector/DWI Volume.</source>
        <translation>{what} ist durch eine gekippte Gantry oder eine übergeordnete Transformation geschert; bitte auf ein rechtwinkliges Gitter umrechnen, etwa mit Resample Scalar/Vector/DWI Volume.</translation>
    </message>
    <message>
        <source>{what} contains NaN or infinite voxels; export the scan again or replace them by -1000.</source>
        <translation>{what} enthält ungültige oder unendliche Voxelwerte; bitte die Aufnahme neu exportieren oder sie durch -1000 ersetzen.</translation>
    </message>
    <message>
        <source>{what} is constant ({value:g} everywhere); choose a volume that shows a scan.</source>
        <translation>{what} ist überall gleich ({value:g}); bitte ein Bild mit einer Aufnahme wählen.</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.device_list</name>
    <message>
        <source>Automatic</source>
        <translation>Automatisch</translation>
    </message>
    <message>
        <source>CPU</source>
        <translation>CPU</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.diagnostics</name>
    <message>
        <source>Checking the installation. This takes some seconds.</source>
        <translation>Die Installation wird geprüft. Das dauert einige Sekunden.</translation>
    </message>
    <message>
        <source>Install what is broken or missing now?</source>
        <translation>Defektes oder Fehlendes jetzt installieren?</translation>
    </message>
    <message>
        <source>Installing. This may take several minutes.</source>
        <translation>Wird installiert. Das kann einige Minuten dauern.</translation>
    </message>
    <message>
        <source>Save log</source>
        <translation>Protokoll speichern</translation>
    </message>
    <message>
        <source>Text (*.log *.txt)</source>
        <translation>Text (*.log *.txt)</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.film_button</name>
    <message>
        <source>Cancel the film</source>
        <translation>Film abbrechen</translation>
    </message>
    <message>
        <source>Nothing is written then.</source>
        <translation>Dann wird nichts geschrieben.</translation>
    </message>
    <message>
        <source>The film was cancelled; nothing was written.</source>
        <translation>Der Film wurde abgebrochen; es wurde nichts geschrieben.</translation>
    </message>
    <message>
        <source>Film saved: {path}</source>
        <translation>Film gespeichert: {path}</translation>
    </message>
    <message>
        <source>The film was not saved.</source>
        <translation>Der Film wurde nicht gespeichert.</translation>
    </message>
    <message>
        <source>Save a film</source>
        <translation>Film speichern</translation>
    </message>
    <message>
        <source>Films (*.mp4 *.gif *.webp)</source>
        <translation>Filme (*.mp4 *.gif *.webp)</translation>
    </message>
    <message>
        <source>{path} exists. Replace it?</source>
        <translation>{path} gibt es schon. Soll die Datei ersetzt werden?</translation>
    </message>
    <message>
        <source>Films in .mp4 need the Python package {package} (about {size} MB to download). Install it now? Films in .gif and .webp need nothing.</source>
        <translation>Filme als .mp4 brauchen das Python-Paket {package} (etwa {size} MB zum Herunterladen). Jetzt installieren? Filme als .gif und .webp brauchen nichts.</translation>
    </message>
    <message>
        <source>Install Python packages</source>
        <translation>Python-Pakete installieren</translation>
    </message>
    <message>
        <source>{stage}: {percent:.0f} %</source>
        <translation>{stage}: {percent:.0f} %</translation>
    </message>
    <message>
        <source>{stage}: {percent:.0f} %, about {seconds:.0f} s left</source>
        <translation>{stage}: {percent:.0f} %, noch etwa {seconds:.0f} s</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.findings</name>
    <message>
        <source>No answer within</source>
        <translation>Keine Antwort innerhalb von</translation>
    </message>
    <message>
        <source>Press Apply and confirm the installation.</source>
        <translation>Bitte „Anwenden“ drücken und die Installation bestätigen.</translation>
    </message>
    <message>
        <source>Reinstall PyTorch: in the module PyTorch Utils press Uninstall PyTorch, restart Slicer, then press Install PyTorch.</source>
        <translation>PyTorch neu installieren: im Modul PyTorch Utils „Uninstall PyTorch“ drücken, Slicer neu starten, dann „Install PyTorch“ drücken.</translation>
    </message>
    <message>
        <source>Update the NVIDIA driver, or choose the CPU as device.</source>
        <translation>Bitte den NVIDIA-Treiber aktualisieren oder die CPU als Gerät wählen.</translation>
    </message>
    <message>
        <source>Install a newer Slicer.</source>
        <translation>Bitte ein neueres Slicer installieren.</translation>
    </message>
    <message>
        <source>Wait until other programs have finished, then check again.</source>
        <translation>Bitte warten, bis andere Programme fertig sind, und dann nochmals prüfen.</translation>
    </message>
    <message>
        <source>The versions of PyTorch and numpy do not match. {reinstall}</source>
        <translation>Die Versionen von PyTorch und numpy passen nicht zusammen. {reinstall}</translation>
    </message>
    <message>
        <source>This PyTorch was not built for this GPU; choose the CPU as device, or install PyTorch for another CUDA version in the module PyTorch Utils.</source>
        <translation>Dieses PyTorch wurde nicht für diese GPU gebaut; bitte die CPU als Gerät wählen oder im Modul PyTorch Utils PyTorch für eine andere CUDA-Version installieren.</translation>
    </message>
    <message>
        <source>Close other programs that use the GPU, or choose the CPU as device.</source>
        <translation>Bitte andere Programme schließen, die die GPU benutzen, oder die CPU als Gerät wählen.</translation>
    </message>
    <message>
        <source>Install a newer PyTorch in the module PyTorch Utils, or choose the CPU as device.</source>
        <translation>Bitte im Modul PyTorch Utils ein neueres PyTorch installieren oder die CPU als Gerät wählen.</translation>
    </message>
    <message>
        <source>PyTorch {version} is too old</source>
        <translation>PyTorch {version} ist zu alt</translation>
    </message>
    <message>
        <source>Version {minimum} or newer is needed. {place}</source>
        <translation>Nötig ist Version {minimum} oder neuer. {place}</translation>
    </message>
    <message>
        <source>PyTorch {version}, built for CUDA {cuda}</source>
        <translation>PyTorch {version}, gebaut für CUDA {cuda}</translation>
    </message>
    <message>
        <source>PyTorch {version}, built for the CPU</source>
        <translation>PyTorch {version}, gebaut für die CPU</translation>
    </message>
    <message>
        <source>Slicer&apos;s Python does not start</source>
        <translation>Das Python von Slicer startet nicht</translation>
    </message>
    <message>
        <source>Install Slicer again.</source>
        <translation>Bitte Slicer neu installieren.</translation>
    </message>
    <message>
        <source>{install} It uses the PyTorch extension.</source>
        <translation>{install} Sie benutzt die Erweiterung PyTorch.</translation>
    </message>
    <message>
        <source>PyTorch is not installed</source>
        <translation>PyTorch ist nicht installiert</translation>
    </message>
    <message>
        <source>PyTorch takes too long to be imported</source>
        <translation>PyTorch braucht zu lange zum Laden</translation>
    </message>
    <message>
        <source>PyTorch cannot be imported: its installation is incomplete</source>
        <translation>PyTorch kann nicht geladen werden: es ist unvollständig installiert</translation>
    </message>
    <message>
        <source>The Python packages take too long to be imported</source>
        <translation>Die Python-Pakete brauchen zu lange zum Laden</translation>
    </message>
    <message>
        <source>All other Python packages are installed</source>
        <translation>Alle anderen Python-Pakete sind installiert</translation>
    </message>
    <message>
        <source>{name} is missing</source>
        <translation>{name} fehlt</translation>
    </message>
    <message>
        <source>{name} cannot be imported ({reason})</source>
        <translation>{name} kann nicht geladen werden ({reason})</translation>
    </message>
    <message>
        <source>{package} is needed, {version} is installed</source>
        <translation>nötig ist {package}, installiert ist {version}</translation>
    </message>
    <message>
        <source>In Slicer&apos;s Python console: {command}.</source>
        <translation>In der Python-Konsole von Slicer: {command}.</translation>
    </message>
    <message>
        <source>{packages} cannot be used</source>
        <translation>{packages} nicht verwendbar</translation>
    </message>
    <message>
        <source>A convolution and a resampling with gradients took {seconds:.2f} s.</source>
        <translation>Eine Faltung und ein Resampling mit Gradienten dauerten {seconds:.2f} s.</translation>
    </message>
    <message>
        <source>{device} works</source>
        <translation>{device} funktioniert</translation>
    </message>
    <message>
        <source>{device} does not work</source>
        <translation>{device} funktioniert nicht</translation>
    </message>
    <message>
        <source>The NVIDIA GPU is not used</source>
        <translation>Die NVIDIA-GPU wird nicht benutzt</translation>
    </message>
    <message>
        <source>PyTorch {version} is a build without CUDA, although there is {driver}.</source>
        <translation>PyTorch {version} wurde ohne CUDA gebaut, obwohl {driver} vorhanden ist.</translation>
    </message>
    <message>
        <source>For faster registrations install PyTorch with CUDA. {reinstall}</source>
        <translation>Mit einem PyTorch für CUDA gehen Registrierungen schneller. {reinstall}</translation>
    </message>
    <message>
        <source>The NVIDIA driver is too old for this PyTorch</source>
        <translation>Der NVIDIA-Treiber ist zu alt für dieses PyTorch</translation>
    </message>
    <message>
        <source>{driver}; PyTorch {version} is built for CUDA {cuda}: {reason}</source>
        <translation>{driver}; PyTorch {version} ist für CUDA {cuda} gebaut: {reason}</translation>
    </message>
    <message>
        <source>Update the NVIDIA driver, or install PyTorch for an older CUDA version in the module PyTorch Utils.</source>
        <translation>Bitte den NVIDIA-Treiber aktualisieren oder im Modul PyTorch Utils PyTorch für eine ältere CUDA-Version installieren.</translation>
    </message>
    <message>
        <source>PyTorch {version} finds no GPU, although there is {driver}: {reason}</source>
        <translation>PyTorch {version} findet keine GPU, obwohl {driver} vorhanden ist: {reason}</translation>
    </message>
    <message>
        <source>PyTorch {version} finds no GPU, although there is {driver}.</source>
        <translation>PyTorch {version} findet keine GPU, obwohl {driver} vorhanden ist.</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.gpus</name>
    <message>
        <source>Apple GPU</source>
        <translation>Apple-GPU</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.installing</name>
    <message>
        <source>This Slicer is too old: it lacks {packages}; install a newer Slicer.</source>
        <translation>Dieses Slicer ist zu alt: ihm fehlt {packages}; bitte ein neueres Slicer installieren.</translation>
    </message>
    <message>
        <source>The installation ended but {packages} cannot be found in a version that is new enough; restart Slicer and try again.</source>
        <translation>Die Installation ist zu Ende, aber {packages} ist in keiner ausreichend neuen Version zu finden; bitte Slicer neu starten und es nochmals versuchen.</translation>
    </message>
    <message>
        <source>PyTorch is installed by Slicer&apos;s extension PyTorch, which is missing; install the extension PyTorch in the Extensions Manager, restart Slicer and try again.</source>
        <translation>PyTorch wird von der Slicer-Erweiterung PyTorch installiert, die fehlt; bitte die Erweiterung PyTorch im Extensions Manager installieren, Slicer neu starten und es nochmals versuchen.</translation>
    </message>
    <message>
        <source>PyTorch could not be installed</source>
        <translation>PyTorch konnte nicht installiert werden</translation>
    </message>
    <message>
        <source>restart Slicer and try again, or use the module PyTorch Utils</source>
        <translation>bitte Slicer neu starten und es nochmals versuchen oder das Modul PyTorch Utils benutzen</translation>
    </message>
    <message>
        <source>PyTorch was not installed because its installation was declined; press Apply to be asked again.</source>
        <translation>PyTorch wurde nicht installiert, weil die Installation abgelehnt wurde; „Anwenden“ fragt erneut.</translation>
    </message>
    <message>
        <source>The packages could not be installed</source>
        <translation>Die Pakete konnten nicht installiert werden</translation>
    </message>
    <message>
        <source>check the internet connection and try again</source>
        <translation>bitte die Internetverbindung prüfen und es nochmals versuchen</translation>
    </message>
    <message>
        <source>{what}; {cure}. The last lines:</source>
        <translation>{what}; {cure}. Die letzten Zeilen:</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.logic</name>
    <message>
        <source>There is no model {name}; the models are: {names}.</source>
        <translation>Ein Modell {name} gibt es nicht; die Modelle sind: {names}.</translation>
    </message>
    <message>
        <source>Install Python packages</source>
        <translation>Python-Pakete installieren</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.maps</name>
    <message>
        <source>The transform is not a displacement field any more. Press Apply to register again.</source>
        <translation>Die Transformation ist kein Verschiebungsfeld mehr. „Anwenden“ registriert erneut.</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.mode_list</name>
    <message>
        <source>Default</source>
        <translation>Standard</translation>
    </message>
    <message>
        <source>Fast</source>
        <translation>Schnell</translation>
    </message>
    <message>
        <source>As published</source>
        <translation>Wie veröffentlicht</translation>
    </message>
    <message>
        <source>Custom</source>
        <translation>Eigene</translation>
    </message>
    <message>
        <source>The whole method.</source>
        <translation>Das ganze Verfahren.</translation>
    </message>
    <message>
        <source>Half the steps of the refinement, in three quarters of the time.</source>
        <translation>Halb so viele Schritte der Verfeinerung, in drei Vierteln der Zeit.</translation>
    </message>
    <message>
        <source>The method of the paper: from the centres of mass, without refinement.</source>
        <translation>Das Verfahren der Veröffentlichung: von den Schwerpunkten aus, ohne Verfeinerung.</translation>
    </message>
    <message>
        <source>The numbers below.</source>
        <translation>Die Zahlen darunter.</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.model_list</name>
    <message>
        <source>Automatic</source>
        <translation>Automatisch</translation>
    </message>
    <message>
        <source>The installed model that knows the scans best.</source>
        <translation>Das installierte Modell, das die Aufnahmen am besten kennt.</translation>
    </message>
    <message>
        <source>No model is selected. Select one or add a model file.</source>
        <translation>Kein Modell gewählt. Bitte eines wählen oder eine Modelldatei hinzufügen.</translation>
    </message>
    <message>
        <source>Add a model file</source>
        <translation>Modelldatei hinzufügen</translation>
    </message>
    <message>
        <source>SlicReg models (*.slicreg)</source>
        <translation>SlicReg-Modelle (*.slicreg)</translation>
    </message>
    <message>
        <source>Delete the model file {path}?</source>
        <translation>Die Modelldatei {path} löschen?</translation>
    </message>
    <message>
        <source>cannot be used</source>
        <translation>nicht verwendbar</translation>
    </message>
    <message>
        <source>It holds its template.</source>
        <translation>Es enthält seine Referenz.</translation>
    </message>
    <message>
        <source>It holds the average of {n} scans.</source>
        <translation>Es enthält den Durchschnitt von {n} Aufnahmen.</translation>
    </message>
    <message>
        <source>It holds the average of {n} scans with {organs} organs.</source>
        <translation>Es enthält den Durchschnitt von {n} Aufnahmen mit {organs} Organen.</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.own_template</name>
    <message>
        <source>{name} segmentation</source>
        <translation>{name} Segmentierung</translation>
    </message>
    <message>
        <source>{model} template</source>
        <translation>{model} Referenz</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.own_template_button</name>
    <message>
        <source>The chosen model holds no template of its own.</source>
        <translation>Das gewählte Modell enthält keine eigene Referenz.</translation>
    </message>
    <message>
        <source>Choose a model; which one Automatic takes is known after a registration.</source>
        <translation>Bitte ein Modell wählen; welches „Automatisch“ nimmt, ist nach einer Registrierung bekannt.</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.panel</name>
    <message>
        <source>Installing {packages}. This may take several minutes.</source>
        <translation>{packages} wird installiert. Das kann einige Minuten dauern.</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.reading</name>
    <message>
        <source>{path} is not a displacement field; run the registration again.</source>
        <translation>{path} ist kein Verschiebungsfeld; bitte die Registrierung wiederholen.</translation>
    </message>
    <message>
        <source>{path} cannot be read as an image; run the registration again.</source>
        <translation>{path} kann nicht als Bild gelesen werden; bitte die Registrierung wiederholen.</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.registration_tab</name>
    <message>
        <source>Register the target to the template.</source>
        <translation>Das Zielbild auf die Referenz registrieren.</translation>
    </message>
    <message>
        <source>Choose a template volume.</source>
        <translation>Bitte ein Referenzbild wählen.</translation>
    </message>
    <message>
        <source>Choose a target volume.</source>
        <translation>Bitte ein Zielbild wählen.</translation>
    </message>
    <message>
        <source>Register the target to the model&apos;s own template, and carry its organs to the target.</source>
        <translation>Das Zielbild auf die Referenz des Modells registrieren und deren Organe auf das Zielbild übertragen.</translation>
    </message>
    <message>
        <source>The model&apos;s own</source>
        <translation>Die des Modells</translation>
    </message>
    <message>
        <source>None</source>
        <translation>Keine</translation>
    </message>
    <message>
        <source>Template and target are the same volume; choose two different ones.</source>
        <translation>Referenz und Zielbild sind dasselbe Bild; bitte zwei verschiedene wählen.</translation>
    </message>
    <message>
        <source>Choose a template segmentation as well, or no target segmentation: Dice and HD95 need both.</source>
        <translation>Bitte auch eine Segmentierung der Referenz wählen oder keine des Zielbilds: Dice und HD95 brauchen beide.</translation>
    </message>
    <message>
        <source>Choose a model.</source>
        <translation>Bitte ein Modell wählen.</translation>
    </message>
    <message>
        <source>The model {model} is not on this computer. Choose another one.</source>
        <translation>Das Modell {model} ist nicht auf diesem Rechner. Bitte ein anderes wählen.</translation>
    </message>
    <message>
        <source>The model {model} holds no template of its own. Choose a template volume.</source>
        <translation>Das Modell {model} enthält keine eigene Referenz. Bitte eine Referenzaufnahme wählen.</translation>
    </message>
    <message>
        <source>The template segmentation belongs to a template volume. Choose that too, or no segmentation.</source>
        <translation>Die Segmentierung der Referenz gehört zu einer Referenzaufnahme. Bitte auch diese wählen oder keine Segmentierung.</translation>
    </message>
    <message>
        <source>Cancelled. The scene is unchanged.</source>
        <translation>Abgebrochen. Die Szene ist unverändert.</translation>
    </message>
    <message>
        <source>Failed: {reason}</source>
        <translation>Fehlgeschlagen: {reason}</translation>
    </message>
    <message>
        <source>Do you want to register with {model} all the same?</source>
        <translation>Trotzdem mit {model} registrieren?</translation>
    </message>
    <message>
        <source>{stage}: {percent:.0f} %</source>
        <translation>{stage}: {percent:.0f} %</translation>
    </message>
    <message>
        <source>{stage}: {percent:.0f} %, about {seconds:.0f} s left</source>
        <translation>{stage}: {percent:.0f} %, noch etwa {seconds:.0f} s</translation>
    </message>
    <message>
        <source>Done in {seconds:.1f} s on {device}.</source>
        <translation>Fertig in {seconds:.1f} s auf {device}.</translation>
    </message>
    <message>
        <source>{target} of the batch, registered to {template}.</source>
        <translation>{target} aus dem Stapel, registriert auf {template}.</translation>
    </message>
    <message>
        <source>The transform folds in {percent:.2f} % of the template.</source>
        <translation>Die Transformation faltet in {percent:.2f} % der Referenz.</translation>
    </message>
    <message>
        <source>Model: {reason}</source>
        <translation>Modell: {reason}</translation>
    </message>
    <message>
        <source>Mean Dice {before:.3f} before, {after:.3f} after.</source>
        <translation>Mittlerer Dice {before:.3f} vorher, {after:.3f} nachher.</translation>
    </message>
    <message>
        <source>The template is not the model&apos;s own; its supervoxels were predicted as well.</source>
        <translation>Diese Referenz ist nicht die des Modells; auch ihre Supervoxel wurden vom Netz bestimmt.</translation>
    </message>
    <message>
        <source>Note: {note}</source>
        <translation>Hinweis: {note}</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.request</name>
    <message>
        <source>The template volume</source>
        <translation>Das Referenzbild</translation>
    </message>
    <message>
        <source>The target volume</source>
        <translation>Das Zielbild</translation>
    </message>
    <message>
        <source>Template and target are the same volume; choose two different ones.</source>
        <translation>Referenz und Zielbild sind dasselbe Bild; bitte zwei verschiedene wählen.</translation>
    </message>
    <message>
        <source>The template segmentation</source>
        <translation>Die Segmentierung der Referenz</translation>
    </message>
    <message>
        <source>The target segmentation</source>
        <translation>Die Segmentierung des Zielbilds</translation>
    </message>
    <message>
        <source>The model {model} does not exist; choose another model.</source>
        <translation>Das Modell {model} gibt es nicht; bitte ein anderes wählen.</translation>
    </message>
    <message>
        <source>The template segmentation belongs to a template volume; choose that too, or no segmentation.</source>
        <translation>Die Segmentierung der Referenz gehört zu einer Referenzaufnahme; bitte auch diese wählen oder keine Segmentierung.</translation>
    </message>
    <message>
        <source>There is no output {name}; the outputs are {names}.</source>
        <translation>Eine Ausgabe {name} gibt es nicht; die Ausgaben sind {names}.</translation>
    </message>
    <message>
        <source>The output transform</source>
        <translation>Die Transformation</translation>
    </message>
    <message>
        <source>The inverse transform</source>
        <translation>Die umgekehrte Transformation</translation>
    </message>
    <message>
        <source>The warped target</source>
        <translation>Das verformte Zielbild</translation>
    </message>
    <message>
        <source>The segmentation on the target</source>
        <translation>Die Segmentierung auf dem Zielbild</translation>
    </message>
    <message>
        <source>The confidence map</source>
        <translation>Die Karte der Sicherheit</translation>
    </message>
    <message>
        <source>Two outputs are the same node; choose another one for one of them.</source>
        <translation>Zwei Ausgaben sind derselbe Knoten; bitte für eine davon einen anderen wählen.</translation>
    </message>
    <message>
        <source>Choose a model, or no target segmentation: Dice needs to know the model&apos;s organs beforehand.</source>
        <translation>Bitte ein Modell wählen oder keine Segmentierung des Zielbilds: Für Dice müssen die Organe des Modells vorher bekannt sein.</translation>
    </message>
    <message>
        <source>The target segmentation has no segment named like an organ of the model ({names}); rename its segments, or choose no target segmentation.</source>
        <translation>Kein Segment der Segmentierung des Zielbilds heißt wie ein Organ des Modells ({names}); bitte die Segmente umbenennen oder keine Segmentierung des Zielbilds wählen.</translation>
    </message>
    <message>
        <source>it names none</source>
        <translation>es nennt keine</translation>
    </message>
    <message>
        <source>The segmentations of template and target have no segment name in common; give the same organs the same names, or choose no target segmentation.</source>
        <translation>Die Segmentierungen von Referenz und Zielbild haben keinen gemeinsamen Segmentnamen; bitte gleiche Organe gleich benennen oder keine Segmentierung des Zielbilds wählen.</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.requirements</name>
    <message>
        <source>the PyTorch extension</source>
        <translation>der Erweiterung PyTorch</translation>
    </message>
    <message>
        <source>- {package}, about {size}, from {source}</source>
        <translation>- {package}, etwa {size}, von {source}</translation>
    </message>
    <message>
        <source>- {package}, from {source}</source>
        <translation>- {package}, von {source}</translation>
    </message>
    <message>
        <source>SlicReg needs {packages} that Slicer does not have yet (about {size} to download):</source>
        <translation>Für SlicReg fehlen Slicer noch {packages} (etwa {size} herunterzuladen):</translation>
    </message>
    <message>
        <source>They are installed into Slicer&apos;s own Python.</source>
        <translation>Installiert wird in das eigene Python von Slicer.</translation>
    </message>
    <message>
        <source>SlicReg needs {packages} that Slicer does not have yet ({names}); run {command} in the Python console, or press Apply in the module SlicReg, to install them.</source>
        <translation>Für SlicReg fehlen Slicer noch {packages} ({names}); zum Installieren bitte {command} in der Python-Konsole ausführen oder im Modul SlicReg „Anwenden“ drücken.</translation>
    </message>
    <message>
        <source>{number} Python package</source>
        <translation>{number} Python-Paket</translation>
    </message>
    <message>
        <source>{number} Python packages</source>
        <translation>{number} Python-Pakete</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.result_table</name>
    <message>
        <source>Export table</source>
        <translation>Tabelle exportieren</translation>
    </message>
    <message>
        <source>Tables (*.csv)</source>
        <translation>Tabellen (*.csv)</translation>
    </message>
    <message>
        <source>Segment</source>
        <translation>Segment</translation>
    </message>
    <message>
        <source>Dice before</source>
        <translation>Dice vorher</translation>
    </message>
    <message>
        <source>Dice after</source>
        <translation>Dice nachher</translation>
    </message>
    <message>
        <source>HD95 before
(mm)</source>
        <translation>HD95 vorher
(mm)</translation>
    </message>
    <message>
        <source>HD95 after
(mm)</source>
        <translation>HD95 nachher
(mm)</translation>
    </message>
    <message>
        <source>Mean confidence</source>
        <translation>Mittlere Sicherheit</translation>
    </message>
    <message>
        <source>10th percentile</source>
        <translation>10. Perzentil</translation>
    </message>
    <message>
        <source>Organ</source>
        <translation>Organ</translation>
    </message>
    <message>
        <source>Volume (ml)</source>
        <translation>Volumen (ml)</translation>
    </message>
    <message>
        <source>Percentile
in the cohort</source>
        <translation>Perzentile
in der Kohorte</translation>
    </message>
    <message>
        <source>cut off</source>
        <translation>angeschnitten</translation>
    </message>
    <message>
        <source>Least sure segments, mean confidence: {segments}.</source>
        <translation>Unsicherste Segmente, mittlere Sicherheit: {segments}.</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.review_buttons</name>
    <message>
        <source>All views show the template&apos;s space.</source>
        <translation>Alle Ansichten zeigen den Raum der Referenz.</translation>
    </message>
    <message>
        <source>Above: the template with its segments. Below: the target where it lies, with the carried segments.</source>
        <translation>Oben: die Referenz mit ihren Segmenten. Unten: das Zielbild an seinem Ort, mit den übertragenen Segmenten.</translation>
    </message>
    <message>
        <source>The target where it lies, with the carried segments; its own segments as outlines.</source>
        <translation>Das Zielbild an seinem Ort, mit den übertragenen Segmenten; seine eigenen als Umrisse.</translation>
    </message>
    <message>
        <source>The target, warped to the template, with the template&apos;s segments.</source>
        <translation>Das auf die Referenz verformte Zielbild mit den Segmenten der Referenz.</translation>
    </message>
    <message>
        <source>3D: the template&apos;s segments, and beside them the carried ones. Slices: the target.</source>
        <translation>3D: die Segmente der Referenz und daneben die übertragenen. Schichten: das Zielbild.</translation>
    </message>
    <message>
        <source>Template and warped target, half and half.</source>
        <translation>Referenz und verformtes Zielbild, je zur Hälfte.</translation>
    </message>
    <message>
        <source>Template and warped target in turn.</source>
        <translation>Referenz und verformtes Zielbild abwechselnd.</translation>
    </message>
    <message>
        <source>Template and warped target in the fields of a checkerboard.</source>
        <translation>Referenz und verformtes Zielbild in den Feldern eines Schachbretts.</translation>
    </message>
    <message>
        <source>Template minus warped target: white where they agree.</source>
        <translation>Referenz minus verformtes Zielbild: weiß, wo sie übereinstimmen.</translation>
    </message>
    <message>
        <source>How well the transform agrees with the network, over the template.</source>
        <translation>Wie gut die Transformation mit dem Netz übereinstimmt, über der Referenz.</translation>
    </message>
    <message>
        <source>How far the transform moves each place of the template.</source>
        <translation>Wie weit die Transformation jede Stelle der Referenz verschiebt.</translation>
    </message>
    <message>
        <source>Blue: smaller in the target; red: larger; magenta: folded.</source>
        <translation>Blau: im Zielbild kleiner; rot: größer; magenta: gefaltet.</translation>
    </message>
    <message>
        <source>The supervoxels that the network found in the target, which is shown where it lies.</source>
        <translation>Die Supervoxel, die das Netz im Zielbild gefunden hat; es wird an seinem Ort gezeigt.</translation>
    </message>
    <message>
        <source>A batch does not write this; press Apply for this scan to see it.</source>
        <translation>Ein Stapel schreibt dies nicht; „Anwenden“ für diese Aufnahme zeigt es.</translation>
    </message>
    <message>
        <source>Least sure place {n} of {total}: confidence {confidence:.2f}</source>
        <translation>Unsicherste Stelle {n} von {total}: Sicherheit {confidence:.2f}</translation>
    </message>
    <message>
        <source>A node of this result was deleted. Press Apply to register again.</source>
        <translation>Ein Knoten dieses Ergebnisses wurde gelöscht. „Anwenden“ registriert erneut.</translation>
    </message>
    <message>
        <source>Least sure place</source>
        <translation>Unsicherste Stelle</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.review_images</name>
    <message>
        <source>Confidence</source>
        <translation>Sicherheit</translation>
    </message>
    <message>
        <source>Displacement (mm)</source>
        <translation>Verschiebung (mm)</translation>
    </message>
    <message>
        <source>Jacobian determinant</source>
        <translation>Jacobi-Determinante</translation>
    </message>
    <message>
        <source>Template - target (HU)</source>
        <translation>Referenz - Zielbild (HU)</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.run</name>
    <message>
        <source>The results cannot be read ({reason}); save the log for a bug report.</source>
        <translation>Die Ergebnisse sind nicht lesbar ({reason}); bitte das Protokoll für eine Fehlermeldung speichern.</translation>
    </message>
    <message>
        <source>Model: {reason}</source>
        <translation>Modell: {reason}</translation>
    </message>
    <message>
        <source>Warning: {warning}</source>
        <translation>Warnung: {warning}</translation>
    </message>
    <message>
        <source>An input was removed from the scene during the registration, so its result was discarded.</source>
        <translation>Eine Eingabe wurde während der Registrierung aus der Szene entfernt; das Ergebnis wurde verworfen.</translation>
    </message>
    <message>
        <source>{target} registered to {template}</source>
        <translation>{target} registriert auf {template}</translation>
    </message>
    <message>
        <source>{name} to template</source>
        <translation>{name} zu Referenz</translation>
    </message>
    <message>
        <source>Template to {name}</source>
        <translation>Referenz zu {name}</translation>
    </message>
    <message>
        <source>{name} on template</source>
        <translation>{name} auf Referenz</translation>
    </message>
    <message>
        <source>{name} confidence</source>
        <translation>{name} Sicherheit</translation>
    </message>
    <message>
        <source>{name} supervoxels</source>
        <translation>{name} Supervoxel</translation>
    </message>
    <message>
        <source>Template segments on {name}</source>
        <translation>Segmente der Referenz auf {name}</translation>
    </message>
    <message>
        <source>{name} segmentation</source>
        <translation>{name} Segmentierung</translation>
    </message>
    <message>
        <source>The registration needs about {needed:.1f} GB of memory but only {free:.1f} GB are free; close other programs or crop the scans.</source>
        <translation>Die Registrierung braucht etwa {needed:.1f} GB Speicher, aber nur {free:.1f} GB sind frei; bitte andere Programme schließen oder die Aufnahmen zuschneiden.</translation>
    </message>
    <message>
        <source>About {needed:.1f} GB of memory will be used; {free:.1f} GB are free.</source>
        <translation>Es werden etwa {needed:.1f} GB Speicher gebraucht; {free:.1f} GB sind frei.</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.sample</name>
    <message>
        <source>Phantom template</source>
        <translation>Phantom-Referenz</translation>
    </message>
    <message>
        <source>Phantom target</source>
        <translation>Phantom-Zielbild</translation>
    </message>
    <message>
        <source>{name} organs</source>
        <translation>{name} Organe</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.scene_batch</name>
    <message>
        <source>The template volume</source>
        <translation>Das Referenzbild</translation>
    </message>
    <message>
        <source>The template segmentation</source>
        <translation>Die Segmentierung der Referenz</translation>
    </message>
    <message>
        <source>The scene contains no other volume to register; load scans or choose a folder.</source>
        <translation>Die Szene enthält kein weiteres Bild zum Registrieren; bitte Aufnahmen laden oder einen Ordner wählen.</translation>
    </message>
    <message>
        <source>{name} was removed from the scene, so it is left out.</source>
        <translation>{name} wurde aus der Szene entfernt und wird ausgelassen.</translation>
    </message>
    <message>
        <source>The volume</source>
        <translation>Das Bild</translation>
    </message>
    <message>
        <source>No file of {folder} has the name of a scan; labels are matched to scans by name.</source>
        <translation>Keine Datei in {folder} heißt wie eine Aufnahme; Labels werden den Aufnahmen nach dem Namen zugeordnet.</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.selfcheck</name>
    <message>
        <source>The CPU</source>
        <translation>Die CPU</translation>
    </message>
    <message>
        <source>The GPU {index} ({name})</source>
        <translation>Die GPU {index} ({name})</translation>
    </message>
    <message>
        <source>The Apple GPU (mps)</source>
        <translation>Die Apple-GPU (mps)</translation>
    </message>
    <message>
        <source>No GPU was found</source>
        <translation>Keine GPU gefunden</translation>
    </message>
    <message>
        <source>Registrations run on the CPU.</source>
        <translation>Registrierungen laufen auf der CPU.</translation>
    </message>
    <message>
        <source>{python} cannot be started ({reason}).</source>
        <translation>{python} kann nicht gestartet werden ({reason}).</translation>
    </message>
    <message>
        <source>no message</source>
        <translation>keine Meldung</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.stage_texts</name>
    <message>
        <source>Starting</source>
        <translation>Start</translation>
    </message>
    <message>
        <source>Choosing the model</source>
        <translation>Wahl des Modells</translation>
    </message>
    <message>
        <source>Preparation</source>
        <translation>Vorbereitung</translation>
    </message>
    <message>
        <source>Prediction</source>
        <translation>Vorhersage</translation>
    </message>
    <message>
        <source>Alignment</source>
        <translation>Ausrichtung</translation>
    </message>
    <message>
        <source>Spline</source>
        <translation>Spline</translation>
    </message>
    <message>
        <source>Refinement</source>
        <translation>Verfeinerung</translation>
    </message>
    <message>
        <source>Unfolding</source>
        <translation>Entfaltung</translation>
    </message>
    <message>
        <source>Judging the result</source>
        <translation>Beurteilung des Ergebnisses</translation>
    </message>
    <message>
        <source>Writing the results</source>
        <translation>Schreiben der Ergebnisse</translation>
    </message>
    <message>
        <source>Loading the results</source>
        <translation>Laden der Ergebnisse</translation>
    </message>
    <message>
        <source>Reading the result</source>
        <translation>Das Ergebnis wird gelesen</translation>
    </message>
    <message>
        <source>Finding the surfaces</source>
        <translation>Die Oberflächen werden gesucht</translation>
    </message>
    <message>
        <source>Drawing the slices</source>
        <translation>Die Schichten werden gezeichnet</translation>
    </message>
    <message>
        <source>Drawing the turning view</source>
        <translation>Die Drehansicht wird gezeichnet</translation>
    </message>
    <message>
        <source>starting</source>
        <translation>Start</translation>
    </message>
    <message>
        <source>checking the scans</source>
        <translation>Prüfung der Aufnahmen</translation>
    </message>
    <message>
        <source>averaging the scans</source>
        <translation>Mittelung der Aufnahmen</translation>
    </message>
    <message>
        <source>dividing the template into supervoxels</source>
        <translation>Zerlegung der Referenz in Supervoxel</translation>
    </message>
    <message>
        <source>registering the scans</source>
        <translation>Registrierung der Aufnahmen</translation>
    </message>
    <message>
        <source>counting the labels</source>
        <translation>Auszählung der Labels</translation>
    </message>
    <message>
        <source>training</source>
        <translation>Training</translation>
    </message>
    <message>
        <source>writing the report</source>
        <translation>Schreiben des Berichts</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.training_buttons</name>
    <message>
        <source>The training is running.</source>
        <translation>Das Training läuft.</translation>
    </message>
    <message>
        <source>No training is running.</source>
        <translation>Es läuft kein Training.</translation>
    </message>
    <message>
        <source>The folder {folder} exists already; choose another job folder or model name.</source>
        <translation>Den Ordner {folder} gibt es schon; bitte einen anderen Arbeitsordner oder Namen des Modells wählen.</translation>
    </message>
    <message>
        <source>This training is finished. Enter another model name or job folder for a new one.</source>
        <translation>Dieses Training ist fertig. Für ein neues bitte einen anderen Namen des Modells oder Arbeitsordner eingeben.</translation>
    </message>
    <message>
        <source>The scans were checked when this training started.</source>
        <translation>Die Aufnahmen wurden zu Beginn dieses Trainings geprüft.</translation>
    </message>
    <message>
        <source>There are no curves before the first validation.</source>
        <translation>Vor der ersten Validierung gibt es keine Kurven.</translation>
    </message>
    <message>
        <source>The report is written at the end of the training.</source>
        <translation>Der Bericht wird am Ende des Trainings geschrieben.</translation>
    </message>
    <message>
        <source>There is no model before the end of the training.</source>
        <translation>Vor dem Ende des Trainings gibt es kein Modell.</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.training_nodes</name>
    <message>
        <source>Iteration</source>
        <translation>Iteration</translation>
    </message>
    <message>
        <source>Training loss</source>
        <translation>Trainingsverlust</translation>
    </message>
    <message>
        <source>Validation loss</source>
        <translation>Validierungsverlust</translation>
    </message>
    <message>
        <source>SlicReg training</source>
        <translation>SlicReg-Training</translation>
    </message>
    <message>
        <source>Cross entropy</source>
        <translation>Kreuzentropie</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.training_request</name>
    <message>
        <source>Choose the folder of scans.</source>
        <translation>Bitte den Ordner mit den Aufnahmen wählen.</translation>
    </message>
    <message>
        <source>Choose a job folder.</source>
        <translation>Bitte einen Arbeitsordner wählen.</translation>
    </message>
    <message>
        <source>Enter a name for the model.</source>
        <translation>Bitte einen Namen für das Modell eingeben.</translation>
    </message>
    <message>
        <source>The template volume</source>
        <translation>Das Referenzbild</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.training_tab</name>
    <message>
        <source>Resume</source>
        <translation>Fortsetzen</translation>
    </message>
    <message>
        <source>Pause</source>
        <translation>Pause</translation>
    </message>
    <message>
        <source>Continue the paused training.</source>
        <translation>Das unterbrochene Training fortsetzen.</translation>
    </message>
    <message>
        <source>Wait until the packages are installed.</source>
        <translation>Bitte warten, bis die Pakete installiert sind.</translation>
    </message>
    <message>
        <source>The scans are being checked.</source>
        <translation>Die Aufnahmen werden geprüft.</translation>
    </message>
    <message>
        <source>Checking the scans: {details}</source>
        <translation>Die Aufnahmen werden geprüft: {details}</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.training_words</name>
    <message>
        <source>Running, {percent}: {stage}.</source>
        <translation>Läuft, {percent}: {stage}.</translation>
    </message>
    <message>
        <source>Paused at {percent}: {stage}.</source>
        <translation>Unterbrochen bei {percent}: {stage}.</translation>
    </message>
    <message>
        <source>Stopped at {percent}. Press Start to resume.</source>
        <translation>Angehalten bei {percent}. „Starten“ setzt fort.</translation>
    </message>
    <message>
        <source>Interrupted at {percent}: the process or the computer was shut down. Press Start to resume.</source>
        <translation>Abgebrochen bei {percent}: der Prozess oder der Rechner wurde beendet. „Starten“ setzt fort.</translation>
    </message>
    <message>
        <source>Failed: {error}</source>
        <translation>Fehlgeschlagen: {error}</translation>
    </message>
    <message>
        <source>{n} s</source>
        <translation>{n} s</translation>
    </message>
    <message>
        <source>{n} min</source>
        <translation>{n} min</translation>
    </message>
    <message>
        <source>{n} h</source>
        <translation>{n} h</translation>
    </message>
    <message>
        <source>min</source>
        <translation>min</translation>
    </message>
    <message>
        <source>1 day</source>
        <translation>1 Tag</translation>
    </message>
    <message>
        <source>{n} days</source>
        <translation>{n} Tage</translation>
    </message>
    <message>
        <source>h</source>
        <translation>h</translation>
    </message>
    <message>
        <source>checking scan {n} of {total}</source>
        <translation>Prüfung von Aufnahme {n} von {total}</translation>
    </message>
    <message>
        <source>registering scan {n} of {total}</source>
        <translation>Registrierung von Aufnahme {n} von {total}</translation>
    </message>
    <message>
        <source>, scan {n} of {total}</source>
        <translation>, Aufnahme {n} von {total}</translation>
    </message>
    <message>
        <source>averaging the scans, round {n}{scan}</source>
        <translation>Mittelung der Aufnahmen, Runde {n}{scan}</translation>
    </message>
    <message>
        <source> of {total}</source>
        <translation> von {total}</translation>
    </message>
    <message>
        <source>training, iteration {n}{of_total}, loss {loss}</source>
        <translation>Training, Iteration {n}{of_total}, Verlust {loss}</translation>
    </message>
    <message>
        <source>Finished. The model {name} is in the model list on the Registration tab.</source>
        <translation>Fertig. Das Modell {name} steht in der Liste der Modelle im Reiter „Registrierung“.</translation>
    </message>
    <message>
        <source>Finished. The model {name} is in the job folder. Add it on the Registration tab.</source>
        <translation>Fertig. Das Modell {name} liegt im Arbeitsordner. Es kann im Reiter „Registrierung“ hinzugefügt werden.</translation>
    </message>
    <message>
        <source>the cause is unknown; the end of job.log in the folder shows the last steps.</source>
        <translation>die Ursache ist unbekannt; das Ende von job.log im Ordner zeigt die letzten Schritte.</translation>
    </message>
    <message>
        <source>About {time} left.</source>
        <translation>Noch etwa {time}.</translation>
    </message>
    <message>
        <source>Last validation (iteration {n}): training loss {training:.3f}, validation loss {validation:.3f}, {percent:.1f} % of voxels classified correctly.</source>
        <translation>Letzte Validierung (Iteration {n}): Trainingsverlust {training:.3f}, Validierungsverlust {validation:.3f}, {percent:.1f} % der Voxel richtig zugeordnet.</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.verdict_view</name>
    <message>
        <source>Good</source>
        <translation>Gut</translation>
    </message>
    <message>
        <source>DOUBTFUL</source>
        <translation>ZWEIFELHAFT</translation>
    </message>
    <message>
        <source>FAILED</source>
        <translation>MISSLUNGEN</translation>
    </message>
</context>
<context>
    <name>SlicRegSlicer.writing</name>
    <message>
        <source>Two segments of {name} have the same label value, so they cannot be compared with label files; load the template&apos;s labels from a label map file, or choose no folder of labels.</source>
        <translation>Zwei Segmente von {name} haben denselben Labelwert und können nicht mit Labeldateien verglichen werden; bitte die Labels der Referenz aus einer Labeldatei laden oder keinen Ordner mit Labels wählen.</translation>
    </message>
    <message>
        <source>{name} cannot be converted to label maps; repair or remove its empty segments.</source>
        <translation>{name} kann nicht in Labelbilder umgewandelt werden; bitte leere Segmente reparieren oder entfernen.</translation>
    </message>
</context>
<context>
    <name>qSlicerAbstractCoreModule</name>
    <message>
        <source>Registration</source>
        <translation>Registrierung</translation>
    </message>
</context>
</TS>
