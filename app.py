"""The frame around every page: the menu, the title, what a mistake looks like, and what no map may be taken for."""

from pathlib import Path

import streamlit as st

from pages import bias_probes, compare_methods, compare_models, explain, manifests, review
from pages.shared import errors
from pages.shared.state import session

LOGO = Path(__file__).parent / "assets" / "logo.svg"
MARK = Path(__file__).parent / "assets" / "mark.svg"


def main() -> None:
    """Draw the page that the address names."""
    st.set_page_config(page_title="Second Look", page_icon=MARK, layout="wide")
    st.logo(LOGO, size="large", icon_image=MARK)
    menu = {
        "explain": st.Page(explain.page, title="Explain", icon=":material/image_search:", default=True),
        "compare_models": st.Page(
            compare_models.page, title="Compare models", icon=":material/compare:", url_path="compare_models"
        ),
        "compare_methods": st.Page(
            compare_methods.page, title="Compare methods", icon=":material/grid_view:", url_path="compare_methods"
        ),
        "bias_probes": st.Page(
            bias_probes.page, title="Bias probes", icon=":material/balance:", url_path="bias_probes"
        ),
        "review": st.Page(review.page, title="Review", icon=":material/fact_check:", url_path="review"),
        "manifests": st.Page(
            manifests.page, title="Saved manifests", icon=":material/inventory_2:", url_path="manifests"
        ),
    }
    page = st.navigation(list(menu.values()))
    session().menu = menu
    st.title(page.title, anchor=False)
    with errors.shown():
        page.run()
    with st.container(key="footer"):
        st.divider()
        st.caption("Attribution maps are diagnostic aids, never proof.")


if __name__ == "__main__":
    main()
